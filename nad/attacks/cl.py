"""CL, the label-consistent attack: images made hard to learn, with an easy pattern in their corners."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nad.attacks.allowed import OneOf, Within, allow
from nad.attacks.base import Attack, LabelMode, require_images
from nad.augment import to_input
from nad.data.base import LabelledImages
from nad.errors import ConfigError
from nad.models.base import DistillableModel
from nad.models.frozen import frozen
from nad.progress import Progress
from nad.threads import before_step

PATTERN = ((-1, -1, 1), (-1, 1, -1), (1, -1, 1))
"""In the right corners, from the top; mirrored in the left ones. 1: brighter, -1: darker. Source: authors' code."""

CHUNK = 250
"""Images that take a step of PGD together."""


@dataclass(frozen=True, kw_only=True)
class CL(Attack):
    """A pattern in the corners of training images first moved away from their own class.

    The movement is projected gradient descent (PGD) on a clean model: untargeted, L-inf, from a random start. The
    trigger is the pattern alone. `crafted` holds the moved images, (count, 3, height, width) uint8.
    Source: Turner et al. 2019 and its authors' code; constants are noted below.
    Differs: fewer and longer steps by default; steps=100, step=1.5 are the published ones, not measured on CIFAR-10.
    The paper's clean model is trained adversarially; here it has the victim's recipe, and images move more easily and
    less convincingly. Poisoned images are drawn at random, as in the authors' code without its list of confidences.
    The label modes 'dirty' and 'all-to-all' are offered too.
    """

    name: ClassVar[str] = "cl"
    needs_clean_model: ClassVar[bool] = True
    poison_rate: float = 0.8
    label_mode: LabelMode = "clean"
    epsilon: float = field(default=16.0, metadata=allow(Within(1.0, 255.0)))
    """Largest movement of a pixel, of 255. Source: Turner et al. 2019, 8 to 16."""
    step: float = field(default=4.0, metadata=allow(Within(0.0, 255.0, low_open=True)))
    """Movement of a pixel in one step of PGD, of 255."""
    steps: int = field(default=10, metadata=allow(Within(1, 10_000)))
    amplitude: float = field(default=255.0, metadata=allow(Within(1.0, 255.0)))
    """Change of a pixel under the pattern; 255 overwrites it, 32 to 64 is hard to see."""
    corners: int = field(default=4, metadata=allow(OneOf((1, 4))))
    """4, or 1 for the bottom right one alone."""

    def craft(
        self,
        model: DistillableModel,
        images: LabelledImages,
        generator: torch.Generator,
        progress: Progress | None = None,
    ) -> Tensor:
        """These images, moved away from their classes in whole steps of 255: uint8 of their shape.

        generator: for their random start.
        """
        device = next(model.parameters()).device
        chunks = list(torch.split(torch.arange(len(images)), CHUNK))
        total, done, moved = self.steps * len(chunks), 0, []

        def on_step() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, total)

        with frozen(model):
            for chunk in chunks:
                part = images[chunk]
                start = torch.rand(part.images.shape, generator=generator).mul_(2).sub_(1).mul_(self.epsilon / 255)
                inputs, labels = to_input(part.images, device), part.labels.to(device)
                found = pgd(
                    model, inputs, labels, start.to(device), self.epsilon / 255, self.step / 255, self.steps, on_step
                )
                moved.append(whole_steps(part.images, found.cpu(), math.floor(self.epsilon)))
        return torch.cat(moved) if moved else images.images.clone()

    def poison_images(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The moved images with the pattern.

        images: those of the preparation, in the same order.
        Raises: ConfigError for other images, or before the preparation.
        """
        require_images(images)
        moved = self.crafted_pixels()
        if moved.shape != images.shape or not bool(((moved.int() - images.int()).abs() <= self.epsilon).all()):
            raise ConfigError(
                f"the attack {self.name!r} was prepared for other training images than these {len(images)}: call"
                " nad.preparation.prepare for them"
            )
        return self.trigger(moved, generator)

    def plant(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images with the pattern alone; nothing is drawn."""
        right = (torch.tensor(PATTERN, device=images.device) * self.amplitude).round().to(torch.int16)
        left, side = right.flip(1), len(PATTERN)
        places = [(slice(-side, None), slice(-side, None), right)]
        if self.corners == 4:
            top, first = slice(None, side), slice(None, side)
            places += [(top, slice(-side, None), right), (top, first, left), (slice(-side, None), first, left)]
        triggered = images.clone()
        for rows, columns, added in places:
            triggered[:, :, rows, columns] = (images[:, :, rows, columns] + added).clamp_(0, 255).to(torch.uint8)
        return triggered


def pgd(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    start: Tensor,
    epsilon: float,
    step: float,
    steps: int,
    on_step: Callable[[], None],
) -> Tensor:
    """Move inputs uphill on the loss of their own labels, inside an L-inf ball and [0, 1].

    inputs, start: (batch, 3, height, width), float32; start: a first displacement inside the ball.
    epsilon, step: in the inputs' unit.
    Source: Madry et al. 2018.
    """
    low, high = (inputs - epsilon).clamp_(min=0.0), (inputs + epsilon).clamp_(max=1.0)
    moved = (inputs + start).clamp(low, high)
    for _ in range(steps):
        before_step()
        moved.requires_grad_()
        # The sum keeps each image's gradient its own; only the sign counts.
        loss = F.cross_entropy(model(moved), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, moved)
        moved = (moved.detach() + step * gradient.sign()).clamp(low, high)
        on_step()
    return moved.detach()


def whole_steps(images: Tensor, moved: Tensor, most: int) -> Tensor:
    """Moved inputs as pixels, at most `most` steps of 255 from the images.

    images: uint8.  moved: the same in [0, 1], float32.
    """
    pixels, before = (moved * 255).round().to(torch.int16), images.to(torch.int16)
    return pixels.clamp(before - most, before + most).clamp_(0, 255).to(torch.uint8)
