"""Opening a model file of any kind without running code in it."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from nad import checkpoints
from nad.errors import CheckpointError
from nad.files import utf8_name
from nad.formats.base import Contents
from nad.formats.inert import STAND_INS
from nad.formats.stand_in import load_in_full

_SAFETENSORS = slice(8, 9)
"""Place of the first brace in a safetensors file, behind the length of its header."""

_ZIP = b"PK"
"""First bytes of a file of today's torch.save."""

_PIECE = 1 << 20
"""Bytes of a record read at a time."""

_DOWNLOADS = (
    (
        re.compile(rb"version https://git-lfs"),
        "a Git LFS pointer and not the model itself; fetch the model with `git lfs pull` in its repository",
    ),
    (
        re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|!--)", re.IGNORECASE),
        "an HTML page and no model: the download failed or asks for a login; open its address in a browser and save"
        " the file",
    ),
    (re.compile(rb"\x1f\x8b"), "compressed with gzip; unpack it first"),
    (re.compile(rb"PK\x05\x06"), "an archive with nothing in it; copy or download it again"),
)
"""First bytes of what downloads leave in place of a model, and the sentence for each."""

_FORBIDDEN = re.compile(r"GLOBAL ([\w.]+)")
"""In torch's message, before the name of a needed import."""
_SCRIPT = "TorchScript archive"
"""In torch's message on a file of torch.jit.save."""
_UNUSUAL = "Unsupported operand"
"""In torch's message on an unknown pickle protocol, or a file without a pickle."""


def open_contents(path: Path, *, trust: bool = False) -> Contents:
    """Read a file by its content, not by its name.

    trust: unpickle a file in full if nothing else works. This runs any code in the file.
    Raises: CheckpointError for a missing or damaged file, another kind of file, or one readable only with trust.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no model file {path}; name one that is there") from error
    except IsADirectoryError as error:
        raise CheckpointError(f"{path} is a folder and no model file; name the file in it") from error
    except OSError as error:
        raise CheckpointError(f"cannot read the model file {path}: {error.strerror}; give another one") from error
    if not head:
        raise CheckpointError(f"the model file {path} is empty; {_AGAIN}")
    for is_so, sentence in _DOWNLOADS:
        if is_so.match(head):
            raise CheckpointError(f"{path} is {sentence}")
    return Contents(
        path, _safetensors(path) if head[_SAFETENSORS] == b"{" else _pickled(path, trust, head.startswith(_ZIP))
    )


def _safetensors(path: Path) -> Any:
    try:
        with utf8_name(path) as name:
            with safe_open(name, framework="pt") as file:
                has_card = checkpoints.CARD_KEY in (file.metadata() or {})
            return checkpoints.load(path) if has_card else load_file(name)
    except (OSError, SafetensorError, CheckpointError, ValueError, RecursionError) as error:
        raise (_cut_short if _INCOMPLETE in str(error) else _damaged)(path) from error


def _pickled(path: Path, trust: bool, zipped: bool) -> Any:
    if zipped:
        _require_sound(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on pickle protocols and old torch versions: no user can mend them
        try:
            # An open file, because torch treats a path ending in .safetensors by its suffix
            with torch.serialization.safe_globals(_plain_data()), path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            what = _what_needs_trust(error, zipped)
            if not trust:
                raise (_refusal(path, what) if what else _unreadable(path, error, zipped)) from error
        try:
            return load_in_full(path)
        except Exception as error:
            raise (_failure(path, error) if what else _unreadable(path, error, zipped)) from error


def _require_sound(path: Path) -> None:
    """Raise CheckpointError for an archive with a damaged record.

    Torch would use its values all the same. A checksum of 0 means none, an option of torch.save. An archive with an
    unreadable list of contents is left to torch.
    """
    with suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            try:
                with archive.open(record) as content:
                    while record.CRC and content.read(_PIECE):
                        pass
            except Exception as error:  # zipfile raises anything over a damaged record
                raise _damaged(path) from error


def _what_needs_trust(error: Exception, zipped: bool) -> str:
    """Torch's reason to unpickle the file in full; empty if hopeless."""
    if _SCRIPT in str(error):
        return "is TorchScript"
    if not isinstance(error, pickle.UnpicklingError):
        return ""
    if forbidden := _FORBIDDEN.search(str(error)):
        return f"asks for {forbidden[1]}"
    return "is pickled in an unusual way" if _UNUSUAL in str(error) and zipped else ""


def _refusal(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"the model file {path} {what}, so only unpickling it in full could read it, and that runs any code in the"
        " file; if you trust its maker, add --trust-checkpoint"
    )


def _failure(path: Path, error: Exception) -> CheckpointError:
    """The error for a trusted and apparently whole file."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return CheckpointError(
        f"the model file {path} cannot be unpickled here ({reason}); put the folder of the code that wrote it on"
        " PYTHONPATH"
    )


def _plain_data() -> list[Any]:
    """Allowed beyond tensors: numpy's arrays and numbers, under the names of old and new versions, and stand-ins."""
    makers: tuple[Any, ...] = (np.arange(1).__reduce__()[0], np.int64(1).__reduce__()[0])
    names = [(made, f"{package}.{made.__name__}") for package in _MULTIARRAY for made in makers]
    types = {type(np.dtype(kind)) for kind in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?U"}
    return [*names, *((bytes, f"{package}.bytes") for package in _BUILTINS), np.ndarray, np.dtype, *types, *STAND_INS]


_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_BUILTINS = ("builtins", "__builtin__")


def _unreadable(path: Path, error: Exception, zipped: bool) -> CheckpointError:
    """The error for a file torch cannot read; torch's own message is about its internals."""
    if zipped:
        return _unreadable_zip(path)
    if isinstance(error, EOFError) or _ENDED.search(str(error)):
        return _cut_short(path)
    return CheckpointError(f"{path} is no model file, or a damaged one; {_GIVE}")


def _unreadable_zip(path: Path) -> CheckpointError:
    try:
        with zipfile.ZipFile(path) as archive:
            if not any(name.endswith("/data.pkl") for name in archive.namelist()):
                return CheckpointError(f"{path} is a zip archive and no model file; {_GIVE}")
    except Exception:  # the list of contents, at the end of the file, is lost or damaged
        return _cut_short(path) if not zipfile.is_zipfile(path) else _damaged(path)
    return _damaged(path)


def _cut_short(path: Path) -> CheckpointError:
    return CheckpointError(f"the model file {path} is cut short; {_AGAIN}")


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"the model file {path} is damaged; {_AGAIN}")


_AGAIN = "copy or download it again"
_GIVE = "give safetensors, or a file of torch.save"
_INCOMPLETE = "file not fully covered"
"""In safetensors' message on a header describing more than follows."""
_ENDED = re.compile(r"unexpected EOF|truncated|[Rr]an out of input")
"""In messages of torch and pickle on an early end."""
