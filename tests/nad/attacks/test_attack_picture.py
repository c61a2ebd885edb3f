"""An attack's picture of itself."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nad.attacks import ATTACKS, make
from nad.attacks.base import Crafted
from nad.attacks.picture import picture, residual, save_picture


def some_images(count: int = 4, height: int = 10, width: int = 13) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", ATTACKS)
def test_rows_show_clean_triggered_and_residual(name: str) -> None:
    images, attack = some_images(), make(name)
    if name == "trojan":
        attack = dataclasses.replace(attack, crafted=Crafted(some_images(1, 3, 3)[0]))
    drawn = picture(attack, images, torch.Generator().manual_seed(5))
    assert drawn.shape == ((3 * 10 + 2) * 4, (4 * 13 + 3) * 4, 3)
    assert drawn.dtype == np.uint8
    triggered = attack.trigger(images, torch.Generator().manual_seed(5))
    small = drawn[::4, ::4]
    for row, tiles in enumerate([images, triggered, residual(images, triggered)]):
        for column, tile in enumerate(tiles):
            shown = small[row * 11 : row * 11 + 10, column * 14 : column * 14 + 13]
            assert np.array_equal(shown, tile.permute(1, 2, 0).numpy())
    assert (small[10] == 255).all()
    assert (small[:, 13] == 255).all()


def test_residual_is_grey_where_nothing_changed_and_fills_the_range() -> None:
    clean = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    triggered = clean.clone()
    triggered[:, :, 0, 0], triggered[:, :, 0, 1], triggered[:, :, 0, 2] = 120, 80, 110
    shown = residual(clean, triggered)[0, 0]
    assert shown[0, :3].tolist() == [255, 1, 192]
    assert (shown[1:] == 128).all()
    assert (residual(clean, clean) == 128).all()


def test_the_saved_picture_is_a_png_with_the_same_pixels(tmp_path: Path) -> None:
    images, attack = some_images(), make("refool")
    save_picture(tmp_path / "refool.png", attack, images, torch.Generator().manual_seed(1))
    assert [path.name for path in tmp_path.iterdir()] == ["refool.png"]
    with Image.open(tmp_path / "refool.png") as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), picture(attack, images, torch.Generator().manual_seed(1)))


def test_picture_that_cannot_be_drawn_leaves_the_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, attack, path = some_images(), make("badnets"), tmp_path / "attack.png"
    save_picture(path, attack, images, torch.Generator().manual_seed(1))
    before = path.read_bytes()

    def full(self: Image.Image, to: Path, format: str) -> None:
        Path(to).write_bytes(before[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save_picture(path, attack, images, torch.Generator().manual_seed(1))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["attack.png"]
