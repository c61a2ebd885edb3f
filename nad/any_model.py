"""`nad.erase`: an erase of any network, on any images, without a study."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from nad.context import TrainContext
from nad.data.base import LabelledImages
from nad.devices import device_of, usable
from nad.erasure import TEACHER, EraseConfig, Watch, distil, make_teacher, require_watch
from nad.errors import ConfigError, require_instance
from nad.holdout import Holdout, as_labelled_images
from nad.judging import require_known
from nad.models.inspection import probe, require_maps, require_model, require_trainable
from nad.progress import StagedProgress
from nad.seeds import derive, generator, torch_seeded
from nad.training import TrainConfig


class Erased(NamedTuple):
    """The erased model and its teacher."""

    model: nn.Module
    """The erased copy, in eval mode, on the device of the erase."""
    losses: tuple[float, ...]
    """Mean loss of each epoch of its distillation."""
    teacher: nn.Module | None
    """Frozen, for further erases with the same images; None if no layer has a beta."""
    teacher_losses: tuple[float, ...]
    """Mean loss of each epoch of its fine-tuning; empty for a given teacher or none."""


def erase(
    model: nn.Module,
    holdout: Holdout,
    config: EraseConfig,
    *,
    teacher: nn.Module | None = None,
    teacher_layers: Sequence[str] | None = None,
    teacher_config: TrainConfig = TEACHER,
    flip: bool = True,
    seed: int = 0,
    allow_guessing: bool = False,
    device: torch.device | str | None = None,
    watch: Watch | None = None,
    progress: StagedProgress | None = None,
) -> Erased:
    """Erase a backdoor from a copy of a model; the model itself is not changed.

    One copy is fine-tuned on the holdout and becomes the teacher; another is distilled towards its attention. Frozen
    parameters stay frozen, and so do the statistics of a batch norm with only frozen parameters. On a CPU, the same
    seed and number of threads give the same weights to the last bit; torch's own generators keep their state.

    model: images in [0, 1] to logits (images, classes); a normalisation per channel is its first layer.
    config: its layers are names in `model.named_modules()`, with outputs (images, channels, height, width).
    teacher: used instead of making one, unchanged: from an earlier erase, or of another architecture.
    teacher_layers: the teacher's layer for each of the config's; None for the same names.
    teacher_config: of the teacher's fine-tuning. A network without batch norm may need a lower lr than the paper's.
    flip: train on mirrored images too; switch it off if a mirrored image changes its class.
    allow_guessing: erase even a model that only guesses on the holdout; see `nad.judging.require_known`.
    device: None for the model's own.
    watch: called after each epoch of the distillation; `patience` needs it.
    progress: called with "teacher" or "student", epochs done, all epochs.
    Raises: ConfigError for a model or layers without usable maps, or a missing device; DataError for unfitting images
    or labels, or a guessing model; EraseDiverged once a loss is no longer finite.
    """
    _require_kinds(config, teacher_config, teacher)
    require_watch(config, watch)
    partners = _partners(config, teacher, teacher_layers)
    student, clean = _student(model, holdout, config, device, seed)
    where = device_of(student)
    if not allow_guessing:
        require_known(student, clean, allow="pass allow_guessing=True", device=where)
    told = progress or (lambda *_: None)
    batches, taught = generator(seed, "teacher"), partial(told, "teacher")
    context = TrainContext(flip=flip, generator=batches, device=where, progress=taught)
    master, teacher_losses = _teacher(model, teacher, clean, partners, teacher_config, context)
    context = replace(context, generator=generator(seed, "erase"), progress=partial(told, "student"))
    untaught = nn.Identity()  # never run: without a beta there is no teacher
    result = distil(
        student, untaught if master is None else master, clean, config, context, watch=watch, pairs=partners
    )
    return Erased(student.eval(), result.losses, master, teacher_losses)


def _student(
    model: nn.Module, holdout: Holdout, config: EraseConfig, device: torch.device | str | None, seed: int
) -> tuple[nn.Module, LabelledImages]:
    """A copy on the device of the erase, and the images it accepts."""
    require_trainable(model)
    where = device_of(model) if device is None else usable(device)
    with torch_seeded(derive(seed, "holdout", "items"), where):
        clean = as_labelled_images(holdout)
    student = copy.deepcopy(model).to(where)
    require_model(student, clean, tuple(config.weights), where)
    return student, clean


def _teacher(
    model: nn.Module,
    given: nn.Module | None,
    clean: LabelledImages,
    partners: Mapping[str, str],
    config: TrainConfig,
    context: TrainContext,
) -> tuple[nn.Module | None, tuple[float, ...]]:
    """A copy of the given teacher, or a new one with losses; None without distillation."""
    if not partners:
        return None, ()
    master = copy.deepcopy(model if given is None else given).to(context.device)
    if given is None:
        return master, make_teacher(master, clean, context, config)
    maps = probe(master, clean, tuple(partners.values()), device_of(master))[1]
    require_maps(maps, partners.values(), clean)
    return master, ()


def _require_kinds(config: object, teacher_config: object, teacher: object) -> None:
    require_instance("config", config, EraseConfig)
    require_instance("teacher_config", teacher_config, TrainConfig)
    if teacher is not None:
        require_instance("teacher", teacher, nn.Module)


def _partners(config: EraseConfig, teacher: nn.Module | None, teacher_layers: Sequence[str] | None) -> dict[str, str]:
    """The teacher's layer for each of the student's with a beta above 0."""
    if teacher_layers is None:
        return {layer: layer for layer in config.weights}
    if teacher is None:
        raise ConfigError(f"teacher_layers {', '.join(teacher_layers)} need a teacher of your own: pass it as teacher")
    if len(teacher_layers) != len(config.layers):
        raise ConfigError(
            f"one layer of the teacher per layer: got {len(teacher_layers)} for {', '.join(config.layers) or 'none'}"
        )
    pairs = dict(zip(config.layers, teacher_layers, strict=True))
    return {layer: pairs[layer] for layer in config.weights}
