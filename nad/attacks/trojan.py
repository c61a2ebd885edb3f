"""Trojan: a patch that excites a few neurons of a clean model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from nad.attacks.allowed import Within, allow
from nad.attacks.base import Attack
from nad.attacks.place import require_patch_room
from nad.augment import to_input
from nad.data.base import LabelledImages
from nad.models.base import DistillableModel
from nad.models.frozen import frozen
from nad.models.taps import tap_input
from nad.progress import Progress
from nad.threads import before_step

BACKGROUNDS = 16
"""Images under the patch, the same in every step; a patch made on one image might work on that image alone."""


@dataclass(frozen=True, kw_only=True)
class Trojan(Attack):
    """A corner patch, optimised on a clean model to drive some of its last neurons.

    The neurons: inputs of the classifier with the largest sum of |outgoing weights|. The loss: the sum of
    (activation - wanted activation)^2, over the patch's pixels alone; these are tanh of Adam's variables.
    `crafted` is the patch, (3, size, size) uint8.
    Source: Liu et al. 2018, as the benchmark suites do it; constants are noted below.
    Differs: the patch overwrites its pixels; the NAD authors' code adds a ready-made one, in bytes that wrap around.
    It is optimised on training images of this data set; the paper knows none and starts from its own picture. The
    victim is trained on poisoned images from its start; the paper retrains the clean model. The label modes 'clean'
    and 'all-to-all' are offered too.
    """

    name: ClassVar[str] = "trojan"
    needs_clean_model: ClassVar[bool] = True
    size: int = field(default=3, metadata=allow(Within(1, 512)))
    """Pixels a side of the patch. Source: NAD authors' code."""
    neurons: int = field(default=2, metadata=allow(Within(1, 4096)))
    """Number of driven neurons. Source: benchmark suites."""
    activation: float = field(default=100.0, metadata=allow(Within(0.0, 1e6, low_open=True)))
    """Their wanted activation; the patch is too small to reach it. Source: benchmark suites."""
    steps: int = field(default=1000, metadata=allow(Within(1, 1_000_000)))
    """Steps of Adam, its learning rate falling from `lr` to zero along a cosine."""
    lr: float = field(default=0.1, metadata=allow(Within(0.0, 10.0, low_open=True)))
    """Learning rate of Adam's first step."""

    def craft(
        self,
        model: DistillableModel,
        images: LabelledImages,
        generator: torch.Generator,
        progress: Progress | None = None,
    ) -> Tensor:
        """The patch, (3, size, size) uint8, optimised on the first few of these images.

        generator: for its start.
        Raises: DataError if it does not fit on them.
        """
        self.require_room(images.images)
        device = next(model.parameters()).device
        inputs = to_input(images.images[:BACKGROUNDS], device)
        classifier = model.get_submodule(model.classifier)
        driven = most_connected(classifier.get_parameter("weight"), self.neurons)
        moved = torch.randn(3, self.size, self.size, generator=generator).to(device).requires_grad_()
        optimiser = torch.optim.Adam([moved], lr=self.lr)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        with frozen(model), tap_input(model, model.classifier) as features:
            for step in range(self.steps):
                before_step()
                model(self._overwritten(inputs, in_unit_range(moved)))
                loss = (features[model.classifier][:, driven] - self.activation).square().sum()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                falling.step()
                if progress is not None:
                    progress(step + 1, self.steps)
        return (in_unit_range(moved.detach()) * 255).round().to(torch.uint8).cpu()

    def plant(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images with the patch; nothing is drawn.  Raises: ConfigError for an attack not prepared."""
        return self._overwritten(images, self.crafted_pixels().to(images.device))

    def _overwritten(self, images: Tensor, patch: Tensor) -> Tensor:
        triggered = images.clone()
        triggered[:, :, -self.size :, -self.size :] = patch
        return triggered

    def require_room(self, images: Tensor) -> None:
        """Raise DataError unless the patch is smaller than the images."""
        require_patch_room(self.size, images)


def most_connected(weight: Tensor, count: int) -> Tensor:
    """Inputs of a linear layer with the largest sums of |outgoing weights|, largest first.

    weight: (outputs, inputs).  Returns at most `count` indices.
    """
    sums = weight.detach().abs().sum(dim=0)
    return sums.topk(min(count, len(sums))).indices


def in_unit_range(moved: Tensor) -> Tensor:
    """Pixels in [0, 1] from unbounded variables."""
    return (moved.tanh() + 1) / 2
