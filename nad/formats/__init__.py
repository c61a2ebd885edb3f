"""Other people's model files.

A format is one small file with a reader, and one line in FORMATS. A file's format is found by its content, not by its
name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nad import models
from nad.checkpoints import State
from nad.errors import CheckpointError, ConfigError
from nad.formats import backdoorbench, nad_release, own, state_dict
from nad.formats.base import Found, PoisonedTest, Reader
from nad.formats.naming import as_ours
from nad.formats.nesting import Weights, largest
from nad.formats.unpickling import open_contents
from nad.models import DistillableModel
from nad.models.normalisation import KEYS, Normalisation
from nad.trained_on import TrainedOn

__all__ = ["FORMATS", "ForeignModel", "PoisonedTest", "load_foreign"]

FORMATS: dict[str, Reader] = {
    "nad-study": own.read,
    "backdoorbench": backdoorbench.read,
    "nad-release": nad_release.read,
    "state-dict": state_dict.read,
}
"""In the order of trying; the first reader to understand a file wins."""


class ForeignModel(NamedTuple):
    """A model from a file, taking pixels in [0, 1]."""

    format: str
    """A key of FORMATS."""
    name: str
    """A key of MODELS."""
    classes: int
    state: State
    """Its weights under our names, with its normalisation."""
    normalisation: Normalisation | None
    """Of the network's training pixels, if given by the format or the user."""
    poisoned_test: PoisonedTest | None
    remarks: tuple[str, ...]
    """Sentences for the user."""
    trained_on: TrainedOn = TrainedOn()

    def network(self) -> DistillableModel:
        """A fresh model with these weights."""
        return models.with_weights(self.name, self.classes, self.state)


def load_foreign(
    path: Path, *, model: str | None = None, trust: bool = False, normalisation: Normalisation | None = None
) -> ForeignModel:
    """The model in a file of any of FORMATS.

    model: the expected key of MODELS; None to recognise it by its weights.
    trust: unpickle the file in full if nothing else works. This runs any code in the file.
    normalisation: of the network's training pixels, instead of the format's.
    Raises: CheckpointError for a file without a known model, unreadable, or readable only with trust; ConfigError for
    an unknown model or an invalid normalisation.
    """
    contents = open_contents(path, trust=trust)._replace(normalisation=normalisation)
    for name, read in FORMATS.items():
        found = read(contents)
        if found is not None:
            return _understood(path, name, found, model, normalisation or found.normalisation)
    raise CheckpointError(
        f"the model file {path} holds {_kind(contents.value)} and no weights that a format knows; known:"
        f" {', '.join(FORMATS)}; {models.ANY_NETWORK}"
    )


def _understood(
    path: Path, form: str, found: Found, model: str | None, normalisation: Normalisation | None
) -> ForeignModel:
    try:
        fit = _fitting(found.weights, model, normalisation)
        _require_names(found.trained_on, fit.classes)
    except CheckpointError as error:
        raise CheckpointError(f"the model file {path} ({form}) cannot be used: {error}") from error
    given, remarks = found.poisoned_test, (*found.remarks, *fit.remarks)
    if given is not None and max(given.target, int(given.data.labels.max())) >= fit.classes:
        given, why = None, f"its poisoned test images have labels beyond its {fit.classes} classes, and are not tried"
        remarks = (*remarks, why)
    return fit._replace(format=form, poisoned_test=given, remarks=remarks, trained_on=found.trained_on)


def _fitting(weights: Mapping[str, Weights], model: str | None, normalisation: Normalisation | None) -> ForeignModel:
    """The first of the weights that are a known model's.

    Raises: CheckpointError, about the largest, if none are.
    """
    fits, errors = dict[str, ForeignModel](), dict[str, CheckpointError]()
    for place, given in weights.items():
        try:
            fits[place] = _recognised(given, model, normalisation)
        except CheckpointError as error:
            errors[place] = error
    if not fits:
        raise errors[largest(weights)]
    (first, fit), *others = fits.items()
    if others:
        more = ", ".join(place for place, _ in others)
        remark = f"its weights are read from {first or 'the outermost dict'}; those in {more} are not used"
        fit = fit._replace(remarks=(*fit.remarks, remark))
    return fit


def _recognised(given: Weights, model: str | None, normalisation: Normalisation | None) -> ForeignModel:
    """The model with these weights.  Raises: CheckpointError for unknown or damaged ones."""
    values, remarks = as_ours(given, normalised=normalisation is not None)
    state = _plain(values)
    name, classes = models.recognise(state, model)
    normalisation = _agreed(normalisation, _kept(state))
    if normalisation is not None:
        state |= normalisation.weights()
    return ForeignModel("", name, classes, state, normalisation, None, remarks)


def _agreed(asked: Normalisation | None, kept: Normalisation | None) -> Normalisation | None:
    """The normalisation among the weights, or the one asked for.  Raises: CheckpointError if they differ."""
    if asked is not None and kept is not None and not asked.is_close(kept):
        raise CheckpointError(
            f"it brings its own normalisation, {kept}, and --victim-mean and --victim-std say {asked}; leave them out"
        )
    return kept or asked


def _require_names(trained_on: TrainedOn, classes: int) -> None:
    names = trained_on.class_names
    if names is not None and len(names) != classes:
        raise CheckpointError(f"its card names {len(names)} classes, and its weights tell {classes} apart")


def _kept(state: State) -> Normalisation | None:
    """The normalisation among the weights, as in this tool's own files."""
    kept = [state[key] for key in KEYS if key in state]
    if not kept:
        return None
    if [tuple(part.shape) for part in kept] != [(3, 1, 1)] * len(KEYS):
        raise CheckpointError(f"its normalisation is damaged: {' and '.join(KEYS)} have three values each")
    mean, std = (tuple(part.flatten().tolist()) for part in kept)
    try:
        return Normalisation(mean, std)
    except ConfigError as error:
        raise CheckpointError(f"its normalisation is damaged: {error}") from error


def _plain(given: Mapping[str, Any]) -> State:
    """Dense float32 weights.

    Missing counters of batch norm, as in old files, start at 0.
    Raises: CheckpointError for anything but a tensor, or a tensor larger than its stored values.
    """
    state = {name: _dense(name, value) for name, value in given.items()}
    for name in [name for name in state if name.endswith(".running_var")]:
        state.setdefault(name.replace("running_var", "num_batches_tracked"), torch.tensor(0))
    return state


def _dense(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise CheckpointError(f"its entry {name!r} is {_kind(value)} and no tensor")
    # An expanded or sparse tensor may claim any size; its copy would fill the memory
    if value.layout != torch.strided or value.device.type == "meta":
        raise CheckpointError(f"its weight {name!r} is not dense")
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise CheckpointError(f"its weight {name!r} claims more values than the file holds")
    return (value.float() if value.is_floating_point() else value).detach().contiguous()


def _kind(value: object) -> str:
    return f"a {type(value).__name__}" if not isinstance(value, Mapping) else f"a dict of {len(value)} entries"
