"""Fine-pruning (Liu et al. 2018): prune channels idle on clean images, then fine-tune."""

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
from nad.defences.base import TUNING, Defence, DefenceContext, Stats
from nad.errors import ConfigError, require_instance, require_range, unknown_name
from nad.evaluation import accuracy
from nad.models.taps import tap
from nad.training import TrainConfig

_ROUNDING = 1e-9
"""Far below one image's share, far above rounding errors (0.8 - 0.1 > 0.7)."""
_BATCH = 250
"""Images per pass without gradients."""


@dataclass(frozen=True, kw_only=True)
class FinePruning(Defence):
    """Prune the last convolution's least active channels until accuracy falls, then fine-tune all layers.

    Source: Liu, Dolan-Gavitt & Garg 2018, "Fine-Pruning", section 4.
    Differs: in residual networks an addition follows the convolution, so its output is signed, and channels are ranked
    by mean absolute activation. Only this convolution's share of the sum is pruned; BackdoorBench cuts the features
    before the classifier. Accuracy during pruning is measured on a part of the holdout, in BackdoorBench on test
    images; the victim was trained on the clean originals too, so both the accuracy and its fall are flattering.
    """

    name: ClassVar[str] = "fine-pruning"

    max_acc_drop: float = 0.1
    """Largest loss of accuracy by pruning, before fine-tuning. Source: BackdoorBench (there relative)."""
    held_back: float = 0.2
    """Share of the holdout for measuring accuracy; the rest ranks channels, all fine-tune."""
    convolution: str | None = None
    """Name of the convolution to prune; None for the last one, see `last_convolution`."""
    tuning: TrainConfig = TUNING

    def __post_init__(self) -> None:
        require_range("max_acc_drop", self.max_acc_drop, 0.0, 1.0)
        require_range("held_back", self.held_back, 0.0, 0.9, low_open=True)
        require_instance("tuning", self.tuning, TrainConfig)

    def require_fit(self, model: nn.Module) -> None:
        """Raise ConfigError for a model without a convolution, or without the named one."""
        _convolution(model, self.convolution or last_convolution(model))

    def change(self, model: nn.Module, context: DefenceContext) -> Stats:
        """See `Defence.defend`. Batch-norm statistics are learnt anew only in the fine-tuning."""
        name = self.convolution or last_convolution(model)
        convolution = _convolution(model, name)
        rest, kept = context.divide(self.held_back)
        order = mean_activity(model, name, rest, context.device).argsort(stable=True)
        pruned = prune_until(
            convolution, order.tolist(), lambda: accuracy(model, kept, device=context.device), self.max_acc_drop
        )
        with_mask = [kind for kind in ("weight", "bias") if getattr(convolution, kind) is not None]
        for kind in with_mask:
            mask = torch.ones_like(getattr(convolution, kind))
            mask[pruned] = 0
            prune.custom_from_mask(convolution, kind, mask)  # type: ignore[no-untyped-call]
        context.tune(model, self.tuning, "the fine-tuning of fine-pruning")
        for kind in with_mask:
            prune.remove(convolution, kind)  # type: ignore[no-untyped-call]
        return {"channels_pruned": len(pruned), "channels": convolution.out_channels}


def last_convolution(model: nn.Module) -> str:
    """The name of the last convolution on a model's main path.

    Candidates are named conv1, conv2, ..., as in residual blocks: in a block, the shortcut's convolution is often the
    last one defined. Without such names, as in a chain of layers, the last one defined is taken. If the model names
    its distillation layers, only the deepest counts.
    Raises: ConfigError if there is none.
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
    """Mean absolute output per channel, in eval mode: (channels,) float64, on the CPU."""
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
    """Set one channel after another to zero; stop before losing too much accuracy.

    A fall by exactly max_acc_drop is allowed, rounding errors aside.
    measure: the accuracy now.  Returns the pruned channels, in order.
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
