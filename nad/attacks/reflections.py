"""Three kinds of reflection in a glass pane, as pure functions.

All light is linear (a pixel value of v in [0, 1] stands for v ** 2.2), in float tensors of shape
(count, 3, height, width); parameters are one per image. `scene` is the image behind the glass, `transmission` the share
of its light let through: a number for all images, or (count, 1, 1, 1).

Source: Liu et al. 2020 (Refool), section 3.2, and its authors' code.
"""

from __future__ import annotations

import torch
from torch import Tensor

GAMMA = 2.2
WINDOW_SPAN = 3.0
"""Standard deviations from the centre of the out-of-focus window to its border."""


def to_light(pixels: Tensor) -> Tensor:
    """uint8 pixel values as linear light in [0, 1]; any shape."""
    table = torch.linspace(0.0, 1.0, 256, device=pixels.device) ** GAMMA
    return table[pixels.int()]


def to_pixels(light: Tensor) -> Tensor:
    """Linear light as uint8 pixel values, clipped to the range."""
    return (light.clamp(0.0, 1.0) ** (1.0 / GAMMA) * 255.0).round_().to(torch.uint8)


def in_focus(scene: Tensor, reflection: Tensor, transmission: float | Tensor) -> Tensor:
    """Glass and reflected things are at the same distance: a weighted sum of both lights."""
    return transmission * scene + (1.0 - transmission) * reflection


def ghost(scene: Tensor, wide: Tensor, transmission: float | Tensor, shifts: Tensor, mix: Tensor) -> Tensor:
    """Thick glass reflects at both of its faces: two shifted copies of the reflection.

    wide: (count, 3, height + margin, width + margin), the reflection with a margin of at least the largest shift.
    shifts: (count, 2) int64, pixels down and right from the first copy to the second, 0 or more.
    mix: (count,) weight of the first copy, the second has the rest.
    """
    share = mix.view(-1, 1, 1, 1)
    size = (scene.shape[2], scene.shape[3])
    doubled = share * _cut(wide, torch.zeros_like(shifts), size) + (1.0 - share) * _cut(wide, shifts, size)
    return in_focus(scene, doubled, transmission)


def _cut(wide: Tensor, shifts: Tensor, size: tuple[int, int]) -> Tensor:
    """A window of this size from each image, moved up and left from the bottom right by its shift."""
    height, width = size
    corner = torch.tensor(wide.shape[2:], device=wide.device) - torch.tensor(size, device=wide.device) - shifts
    rows = corner[:, 0, None] + torch.arange(height, device=wide.device)
    columns = corner[:, 1, None] + torch.arange(width, device=wide.device)
    image = torch.arange(len(wide), device=wide.device)[:, None, None]
    # advanced indices around a slice: torch puts their dimensions first, channels last
    return wide[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def out_of_focus(
    scene: Tensor, reflection: Tensor, transmission: float | Tensor, sigma: Tensor, attenuation: Tensor
) -> Tensor:
    """Focus on the scene: a blurred reflection, dimmed against overexposure, fading to the border.

    sigma: (count,) standard deviation of the blur in pixels.
    attenuation: (count,) share of the mean excess over 1, channel by channel, taken off the reflection.
    """
    blurred = blur(reflection, sigma)
    dimmed = (blurred - attenuation.view(-1, 1, 1, 1) * _mean_excess(blurred + scene)).clamp_(0.0, 1.0)
    weight = (1.0 - transmission / 2.0) * window(scene.shape[2], scene.shape[3]).to(scene.device)
    return transmission * scene + weight * dimmed


def _mean_excess(light: Tensor) -> Tensor:
    """Mean of the positive (light - 1), per image and channel: (count, 3, 1, 1), 0 for none."""
    excess = (light - 1.0).clamp_(min=0.0)
    burnt = (excess > 0.0).sum(dim=(2, 3), keepdim=True)
    return excess.sum(dim=(2, 3), keepdim=True) / burnt.clamp(min=1)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with its own sigma for each image; weights renormalise at the border.

    Two matrix products an image: a sigma of its own stays cheap.
    """
    rows, columns = (_blur_matrix(length, sigma) for length in images.shape[2:])
    return rows[:, None] @ images @ columns[:, None].transpose(2, 3)


def _blur_matrix(length: int, sigma: Tensor) -> Tensor:
    """(count, length, length): row i holds all positions' weights in the blurred position i."""
    position = torch.arange(length, device=sigma.device, dtype=torch.float32)
    distance = (position[:, None] - position[None, :]) / sigma.view(-1, 1, 1)
    return torch.softmax(-0.5 * distance**2, dim=2)


def window(height: int, width: int) -> Tensor:
    """Gaussian weights, 1 in the middle, WINDOW_SPAN standard deviations to each border: (height, width).

    The weights are the root of that Gaussian, as in the authors' code.
    """
    row, column = (torch.exp(-0.25 * _centred(length) ** 2) for length in (height, width))
    weights = torch.outer(row, column)
    return weights / weights.max()


def _centred(length: int) -> Tensor:
    return ((torch.arange(length) + 0.5) / length * 2.0 - 1.0) * WINDOW_SPAN
