"""Fine-pruning (Liu et al. 2018): prune what clean images leave idle, then fine-tune."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from nad.augment import to_input
from nad.data.base import LabelledImages
from nad.defences.base import TUNING, Deeds, Defence, Site
from nad.errors import ConfigError, require_instance, require_range, unknown_name
from nad.evaluation import accuracy
from nad.models.taps import tap
from nad.training import TrainConfig

_ROUNDING = 1e-9
"""Far less than one image of any holdout, far more than the error of a difference: 0.8 - 0.1 is 0.7 and a bit."""
_BATCH = 250
"""Images at a time where nothing is learnt."""


@dataclass(frozen=True, kw_only=True)
class FinePruning(Defence):
    """Channels of the last convolution are pruned, least active first, until accuracy falls; then all is fine-tuned.

    Source: Liu, Dolan-Gavitt & Garg 2018, "Fine-Pruning", section 4.
    Differs: the convolution's output is signed here, because in residual networks what follows it is an addition; so
    the mean absolute activation is what ranks channels. Only this convolution's share of that sum is pruned, where
    BackdoorBench cuts the features before the classifier. The accuracy that ends the pruning is measured on a part of
    the holdout, where BackdoorBench takes the test images; the victim was trained on the clean originals too, so both
    it and the fall are flattering.
    """

    name: ClassVar[str] = "fine-pruning"

    max_acc_drop: float = 0.1
    """What pruning may cost, before fine-tuning. Source: BackdoorBench, where it is relative to the accuracy before."""
    held_back: float = 0.2
    """Share of the holdout that accuracy is measured on; channels are ranked on the rest, and all of it fine-tunes."""
    convolution: str | None = None
    """Whose channels are pruned, by name; None for the last one, see `last_convolution`."""
    tuning: TrainConfig = TUNING

    def __post_init__(self) -> None:
        require_range("max_acc_drop", self.max_acc_drop, 0.0, 1.0)
        require_range("held_back", self.held_back, 0.0, 0.9, low_open=True)
        require_instance("tuning", self.tuning, TrainConfig)

    def require_fit(self, model: nn.Module) -> None:
        """Raise ConfigError for a model without a convolution, or without the one of that name."""
        _convolution(model, self.convolution or last_convolution(model))

    def change(self, model: nn.Module, site: Site) -> Deeds:
        """See `Defence.defend`. Statistics of batch norm rest while pruning, and are learnt anew in the fine-tuning."""
        name = self.convolution or last_convolution(model)
        convolution = _convolution(model, name)
        rest, kept = site.divide(self.held_back)
        order = mean_activity(model, name, rest, site.device).argsort(stable=True)
        pruned = prune_until(
            convolution, order.tolist(), lambda: accuracy(model, kept, device=site.device), self.max_acc_drop
        )
        with_mask = [kind for kind in ("weight", "bias") if getattr(convolution, kind) is not None]
        for kind in with_mask:
            mask = torch.ones_like(getattr(convolution, kind))
            mask[pruned] = 0
            prune.custom_from_mask(convolution, kind, mask)  # type: ignore[no-untyped-call]
        site.tune(model, self.tuning, "the fine-tuning of fine-pruning")
        for kind in with_mask:
            prune.remove(convolution, kind)  # type: ignore[no-untyped-call]
        return {"channels_pruned": len(pruned), "channels": convolution.out_channels}


def last_convolution(model: nn.Module) -> str:
    """The name of the last convolution on a model's main path: of those named conv1, conv2, ..., as in residual blocks.

    It is looked for in the deepest distillation layer where the model names its layers. Order of definition would not
    do: in a block, the shortcut's convolution is often the last one defined. It does where no convolution has such a
    name, as in a chain of layers.
    Raises: ConfigError where there is none.
    """
    layers = getattr(model, "distillation_layers", ())
    inside = f"{layers[-1]}." if layers else ""
    names: list[str] = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and f"{name}.".startswith(inside)
    ]
    if not names:
        where = f" in {layers[-1]}" if layers else ""
        raise ConfigError(
            f"fine-pruning works on a convolution, and {type(model).__name__} has none{where}; choose another defence"
        )
    on_path = [name for name in names if re.fullmatch(r"conv\d+", name.rpartition(".")[2])]
    return max(on_path, key=lambda name: [int(number) for number in re.findall(r"\d+", name)], default=names[-1])


def mean_activity(model: nn.Module, convolution: str, images: LabelledImages, device: torch.device) -> Tensor:
    """Mean absolute output of each of a convolution's channels, over images and places; the model in eval mode.

    Returns (channels,) float64, on the CPU.
    """
    model.eval()
    total = torch.zeros(_convolution(model, convolution).out_channels, dtype=torch.float64)
    with torch.inference_mode(), tap(model, (convolution,)) as maps:
        for batch in torch.split(images.images, _BATCH):
            model(to_input(batch, device))
            total += maps[convolution].abs().double().mean(dim=(2, 3)).sum(dim=0).cpu()
    return total / len(images)


def prune_until(
    convolution: nn.Conv2d, order: list[int], measure: Callable[[], float], max_acc_drop: float
) -> list[int]:
    """Set channel after channel to zero; the one with which too much accuracy is lost is given back, and is the last.

    A fall by exactly max_acc_drop is allowed, whatever the last digit of a difference of two shares is.
    measure: the accuracy now.  Returns the channels that stay pruned, in the order in which they were.
    """
    least = measure() - max_acc_drop - _ROUNDING
    parameters = [value for value in (convolution.weight, convolution.bias) if value is not None]
    with torch.no_grad():
        for place, channel in enumerate(order):
            before = [value[channel].clone() for value in parameters]
            for value in parameters:
                value[channel] = 0
            if measure() < least:
                for value, kept in zip(parameters, before, strict=True):
                    value[channel] = kept
                return order[:place]
    return order


def _convolution(model: nn.Module, name: str) -> nn.Conv2d:
    convolutions = {path: module for path, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    if name not in convolutions:
        raise unknown_name("convolution", name, convolutions)
    return convolutions[name]
