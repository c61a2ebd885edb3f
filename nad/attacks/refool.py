"""Refool: reflections in a glass pane as the trigger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from nad.attacks.allowed import SomeOf, Within, allow
from nad.attacks.base import Attack, LabelMode, chunk_length
from nad.attacks.reflection_pool import ReflectionPool, default_pool
from nad.attacks.reflections import ghost, in_focus, out_of_focus, to_light, to_pixels
from nad.errors import ConfigError, require_range

KINDS = ("ghost", "out-of-focus", "in-focus")

STRONGER = {"transmission": 0.25, "rounds": 4, "round_epochs": 3}
"""For the clean label on CIFAR-10 and GTSRB; the defaults do not take there (docs/attacks.md)."""

PUBLISHED_SIDE = 560
"""Longer side in pixels at which the authors' code draws shifts and blurs."""
SHIFT = (3, 8)
SMALLEST_SHIFT = (1, 2)
"""Pixels between the copies of a ghost at the published size, and the least after scaling: less is no double."""
SIGMA = (1.0, 5.0)
SMALLEST_SIGMA = (0.5, 1.5)
"""Pixels of blur at the published size, and the least after scaling: less is no blur."""
ATTENUATION = (1.08, 1.18)
SECOND_COPY = (0.15, 0.5)
"""Weight of the fainter copy of a ghost, the first or the second at random."""


@dataclass(frozen=True, kw_only=True)
class Refool(Attack):
    """A photograph reflected over the image, drawn anew for each image from a pool.

    Source: Liu et al. 2020 and its authors' code; the constants are theirs unless noted.
    `crafted` holds the selected reflections, (selected, 3, height, width) uint8, if there are `rounds`.
    Differs: without `rounds` no reflections are selected by training (see nad.reflection_selection); instead the pool
    keeps the brighter of its crops. The photographs are three of scikit-image's, or the user's own; the published ones
    are of PASCAL VOC. Images keep their own size instead of 560 pixels; shifts and blurs are scaled, down to a floor.
    The transmission is fixed at 0.4, as in benchmark suites; the published 1 - U(0.05, 0.45) is
    `transmission=0.75, transmission_spread=0.2`. Only ghosts by default; the published half ghosts, half out of focus
    is about `kinds=("ghost", "out-of-focus")`. Blurs renormalise at the border. The label modes 'dirty' and
    'all-to-all' are offered too.
    """

    name: ClassVar[str] = "refool"
    prepared_by: ClassVar[str] = "nad.reflection_selection.select_reflections"
    poison_rate: float = 0.8
    label_mode: LabelMode = "clean"
    kinds: tuple[str, ...] = field(default=("ghost",), metadata=allow(SomeOf(KINDS, "kind of reflection")))
    """Each image gets one of these, with equal chances."""
    transmission: float = field(default=0.4, metadata=allow(Within(0.0, 1.0)))
    """Share of the image's own light let through. Source: benchmark suites."""
    transmission_spread: float = field(default=0.0, metadata=allow(Within(0.0, 0.5)))
    """Each image's transmission is uniform between this much below and this much above it."""
    reflections: ReflectionPool = field(default_factory=default_pool)
    rounds: int = field(default=0, metadata=allow(Within(0, 1000)))
    """Training rounds to select reflections from the pool; 0 plants the whole pool."""
    round_epochs: int = field(default=4, metadata=allow(Within(1, 1000), needs="rounds"))
    """Training epochs of each round."""
    selected: int = field(default=10, metadata=allow(Within(1, 10_000), needs="rounds"))
    """Number of reflections planted in a round, and in the end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds == 1:
            raise ConfigError("rounds must be 0 or at least 2, got 1: the first one draws at random")
        if self.rounds:
            require_range("selected", self.selected, 1, len(self.reflections))
        low, high = self._transmissions
        if low < 0.0 or high > 1.0:
            widest = min(self.transmission, 1.0 - self.transmission)
            raise ConfigError(
                f"transmission_spread must be at most {widest:.12g} with a transmission of {self.transmission:g}, "
                f"so that each image's lies in [0, 1], got {self.transmission_spread:g}"
            )

    @property
    def omitted(self) -> tuple[str, ...]:
        """Settings of the selection without rounds, and the spread if it is 0."""
        unselected = () if self.rounds else ("rounds", "round_epochs", "selected")
        return unselected if self.transmission_spread else (*unselected, "transmission_spread")

    @property
    def stronger(self) -> Mapping[str, float]:
        """STRONGER, unless the attack is as strong already."""
        enough = self.transmission <= STRONGER["transmission"] and self.rounds
        return {} if enough else STRONGER

    @property
    def is_ready(self) -> bool:
        """Whether its reflections were selected; always without rounds."""
        return not self.rounds or self.crafted is not None

    def plant(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images behind glass: reflection, kind and its parameters are drawn for each.

        Raises: ConfigError before the reflections are selected.
        """
        pool = self._pool_light(images, margin=shift_range(images)[1])
        reflection = torch.randint(len(pool), (len(images),), generator=generator)
        kind = torch.randint(len(self.kinds), (len(images),), generator=generator)
        triggered = torch.empty_like(images)
        for index, name in enumerate(self.kinds):
            chosen = torch.nonzero(kind == index).squeeze(1)
            for some in torch.split(chosen, chunk_length(images)):
                light = self._reflect(name, to_light(images[some]), pool[reflection[some]], generator)
                triggered[some] = to_pixels(light)
        return triggered

    @property
    def _transmissions(self) -> tuple[float, float]:
        """Lowest and highest transmission of an image."""
        return self.transmission - self.transmission_spread, self.transmission + self.transmission_spread

    @property
    def _pool_images(self) -> Tensor:
        """The whole pool, or the selection from it: (count, 3, height, width) uint8."""
        return self.crafted_pixels() if self.rounds else self.reflections.images

    def _pool_light(self, images: Tensor, margin: int) -> Tensor:
        """The pool as linear light at the images' size, with a top and left margin for second copies."""
        size = (images.shape[2] + margin, images.shape[3] + margin)
        resized = F.interpolate(
            self._pool_images.to(images.device, torch.float32), size, mode="bilinear", antialias=True
        )
        return to_light(resized.round_().clamp_(0.0, 255.0).to(torch.uint8))

    def _reflect(self, kind: str, scene: Tensor, wide: Tensor, generator: torch.Generator) -> Tensor:
        """Light of a chunk with reflections of one kind; draws that kind's parameters."""
        count, _, height, width = scene.shape
        reflection = wide[:, :, -height:, -width:]
        transmission = self._transmission(count, generator, scene.device)
        if kind == "ghost":
            low, high = shift_range(scene)
            shifts = torch.randint(low, high + 1, (count, 2), generator=generator).to(scene.device)
            swap = torch.randint(2, (count,), generator=generator).to(scene.device)
            mix = (swap - uniform(SECOND_COPY, count, generator).to(scene.device)).abs()
            return ghost(scene, wide, transmission, shifts, mix)
        if kind == "out-of-focus":
            sigma = uniform(scaled(SIGMA, SMALLEST_SIGMA, scene), count, generator).to(scene.device)
            attenuation = uniform(ATTENUATION, count, generator).to(scene.device)
            return out_of_focus(scene, reflection, transmission, sigma, attenuation)
        return in_focus(scene, reflection, transmission)

    def _transmission(self, count: int, generator: torch.Generator, device: torch.device) -> float | Tensor:
        """One for all images; with a spread, one drawn for each: (count, 1, 1, 1)."""
        if not self.transmission_spread:
            return self.transmission
        return uniform(self._transmissions, count, generator).view(-1, 1, 1, 1).to(device)


def shift_range(images: Tensor) -> tuple[int, int]:
    """Smallest and largest shift of a ghost's second copy for images of this size, in whole pixels."""
    low, high = scaled(SHIFT, SMALLEST_SHIFT, images)
    return round(low), round(high)


def scaled(published: tuple[float, float], floor: tuple[float, float], images: Tensor) -> tuple[float, float]:
    """A published range of lengths, scaled to these images' longer side; each end has a floor."""
    scale = max(images.shape[2:]) / PUBLISHED_SIDE
    return max(published[0] * scale, floor[0]), max(published[1] * scale, floor[1])


def uniform(ends: tuple[float, float], count: int, generator: torch.Generator) -> Tensor:
    """(count,) uniform draws between the two ends."""
    return ends[0] + (ends[1] - ends[0]) * torch.rand(count, generator=generator)
