"""`nad.erase`: an erase of any network with named layers, on any images, without a study."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

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
    """What an erase leaves."""

    model: nn.Module
    """The erased copy, in eval mode, on the device where it was made."""
    losses: tuple[float, ...]
    """Mean loss of each epoch of its distillation."""
    teacher: nn.Module | None
    """Frozen, for further erases with the same images; None where no layer has a beta and none was needed."""
    teacher_losses: tuple[float, ...]
    """Mean loss of each epoch of its fine-tuning; empty where there was none."""


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

    One copy is fine-tuned on the holdout and becomes the teacher; another is distilled towards its attention. What the
    model has frozen stays frozen: parameters, and the statistics of a batch norm all of whose parameters are. On a CPU,
    the same seed and number of threads give the same weights to the last bit; torch's own generators, from which
    dropout draws and the random transforms of a Dataset, are left as they were.

    model: images in [0, 1] to logits (images, classes); a normalisation per channel is its first layer.
    config: its layers are names as in `model.named_modules()`, with outputs (images, channels, height, width).
    teacher: instead of making one, such as that of an earlier erase, or of another architecture. It is not changed.
    teacher_layers: its layer for each one of the config; None where they have the same names.
    teacher_config: of the teacher's fine-tuning. A network without batch norm may need a lower lr than the paper's.
    flip: train on mirrored images, too: not where a mirrored image is of another class.
    allow_guessing: erase a model that only guesses on the holdout, too; see `nad.judging.require_known`.
    device: None for where the model is.
    watch: called after each epoch of the distillation; `patience` needs it.
    progress: called with "teacher" or "student", epochs done, all epochs.
    Raises: ConfigError for a model or layers that cannot be distilled, or a device that is not there; DataError for
    images or labels that do not fit, or that the model only guesses; EraseDiverged where a loss is no longer finite.
    """
    require_instance("config", config, EraseConfig)
    require_instance("teacher_config", teacher_config, TrainConfig)
    if teacher is not None:
        require_instance("teacher", teacher, nn.Module)
    require_watch(config, watch)
    layers = tuple(config.weights)
    partners = _partners(config, teacher, teacher_layers)
    where = _device(model, device)
    with torch_seeded(derive(seed, "holdout", "items"), where):
        clean = as_labelled_images(holdout)
    student = _copy(model, where)
    require_model(student, clean, layers, where)
    if not allow_guessing:
        require_known(student, clean, allow="pass allow_guessing=True", device=where)
    told = progress or _ignore
    teacher_losses: tuple[float, ...] = ()
    master = None
    if layers and teacher is not None:
        master = _copy(teacher, where)
        require_maps(probe(master, clean, tuple(partners.values()), where)[1], partners.values(), clean)
    elif layers:
        master = _copy(model, where)
        teacher_losses = make_teacher(
            master,
            clean,
            teacher_config,
            flip=flip,
            generator=generator(seed, "teacher"),
            device=where,
            progress=partial(told, "teacher"),
        )

    result = distil(
        student,
        nn.Identity() if master is None else master,  # without a beta, it is not run
        clean,
        config,
        flip=flip,
        generator=generator(seed, "erase"),
        device=where,
        watch=watch,
        progress=partial(told, "student"),
        pairs=partners,
    )
    return Erased(student.eval(), result.losses, master, teacher_losses)


def _partners(config: EraseConfig, teacher: nn.Module | None, teacher_layers: Sequence[str] | None) -> dict[str, str]:
    """The teacher's layer for each of the student's that takes part."""
    if teacher_layers is None:
        return {layer: layer for layer in config.weights}
    if teacher is None:
        raise ConfigError(f"teacher_layers {', '.join(teacher_layers)} need a teacher of your own that has them")
    if len(teacher_layers) != len(config.layers):
        raise ConfigError(
            f"one layer of the teacher per layer: got {len(teacher_layers)} for {', '.join(config.layers) or 'none'}"
        )
    pairs = dict(zip(config.layers, teacher_layers, strict=True))
    return {layer: pairs[layer] for layer in config.weights}


def _device(model: nn.Module, asked: torch.device | str | None) -> torch.device:
    require_trainable(model)
    return device_of(model) if asked is None else usable(asked)


def _copy(model: nn.Module, device: torch.device) -> nn.Module:
    return copy.deepcopy(model).to(device)


def _ignore(_what: str, _done: int, _total: int) -> None:
    pass
