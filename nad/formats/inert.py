"""Stand-ins for configurations beside the weights, so that such files need no full unpickling.

Nothing here is imported from the file's packages, and nothing of the file runs: settings become empty objects.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any


class Inert:
    """A setting, path or configuration of the file; keeps nothing."""

    def __new__(cls, *_given: Any) -> Inert:
        return object.__new__(cls)

    def __init__(self, *_given: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass


def _empty(*_given: Any) -> OrderedDict[Any, Any]:
    """For a dict made by a call, whose items follow; torch adds items to its own kinds of dict only."""
    return OrderedDict()


_NODES = ("Any", "Boolean", "Bytes", "Enum", "Float", "Integer", "InterpolationResult", "Path", "String")
_PATHS = ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath")
_TYPES = ("bool", "dict", "float", "int", "list", "str", "tuple", "type")

_OBJECTS = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    "typing.Any",
    *(f"datetime.{name}" for name in ("date", "datetime", "timedelta")),
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS),
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in _TYPES),
    *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata", "UnionNode")),
    *("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig"),
    *(f"omegaconf.nodes.{name}Node" for name in _NODES),
)
_DICTS = (
    "addict.addict.Dict",
    "easydict.EasyDict",
    "fvcore.common.config.CfgNode",
    "lightning_fabric.utilities.data.AttributeDict",
    "mmcv.utils.config.ConfigDict",
    "mmengine.config.config.ConfigDict",
    "munch.Munch",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "yacs.config.CfgNode",
)
"""Configurations derived from dict. Torch adds their items to an OrderedDict."""

STAND_INS: tuple[tuple[Any, str], ...] = (
    *((Inert, name) for name in _OBJECTS),
    *((OrderedDict, name) for name in _DICTS),
    (_empty, "collections.defaultdict"),
)
"""For torch's list of allowed names: each stand-in and the name that it is used for."""
