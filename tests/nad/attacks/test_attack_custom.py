"""A trigger of the user's own: what is planted, where, and what bad files get."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nad.attacks import BadNets, describe, make
from nad.attacks.custom import Custom
from nad.attacks.trigger_pattern import TriggerPattern, pattern_from_file
from nad.errors import ConfigError, DataError
from nad.seeds import generator

IMAGES = torch.randint(0, 256, (5, 3, 12, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
COLOURS = np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)
ADDED = np.random.default_rng(4).uniform(-200, 200, (3, 4, 6)).astype(np.float32)
ALPHA = np.random.default_rng(2).integers(0, 256, (4, 6), dtype=np.uint8)


def plant(attack, images=IMAGES):
    return attack.trigger(images, generator(0))


def by_hand(image, colours, mask, top, left):
    """The trigger on one image, a pixel at a time."""
    planted = image.clone()
    for row in range(colours.shape[0]):
        for column in range(colours.shape[1]):
            for channel in range(3):
                below = float(image[channel, top + row, left + column])
                share = float(mask[row, column])
                value = round((1 - share) * below + share * float(colours[row, column, channel]))
                planted[channel, top + row, left + column] = value
    return planted


def close(first, second):
    return int((first.int() - second.int()).abs().max()) <= 1  # a half may be rounded either way


@pytest.fixture
def png(tmp_path: Path) -> Path:
    """A picture with an alpha channel."""
    Image.fromarray(np.dstack([COLOURS, ALPHA])).save(tmp_path / "trigger.png")
    return tmp_path / "trigger.png"


@pytest.mark.parametrize(
    ("place", "top", "left"),
    [("bottom-right", 8, 10), ("bottom-left", 8, 0), ("top-right", 0, 10), ("top-left", 0, 0), ("centre", 4, 5)],
)
@pytest.mark.parametrize("ratio", [1.0, 0.3])
def test_trigger_is_what_it_is_by_hand(png: Path, place: str, top: int, left: int, ratio: float) -> None:
    triggered = plant(make("custom", pattern=png, place=place, blend_ratio=ratio))
    for image, found in zip(IMAGES, triggered, strict=True):
        assert close(found, by_hand(image, COLOURS, ALPHA / 255 * ratio, top, left))


def test_trigger_lies_at_the_bottom_right_unless_told_otherwise(png: Path) -> None:
    assert torch.equal(plant(make("custom", pattern=png)), plant(make("custom", pattern=png, place="bottom-right")))


def test_opaque_patch_is_the_patch_of_badnets() -> None:
    assert torch.equal(plant(Custom()), plant(BadNets()))


def test_picture_without_alpha_is_blended_as_a_whole(tmp_path: Path) -> None:
    colours = np.random.default_rng(3).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "whole.png")
    triggered = plant(make("custom", pattern=tmp_path / "whole.png", blend_ratio=0.2))
    assert close(triggered[0], by_hand(IMAGES[0], colours, np.full((12, 16), 0.2), 0, 0))


@pytest.mark.parametrize("pattern", [COLOURS, COLOURS.transpose(2, 0, 1), COLOURS / 255.0])
@pytest.mark.parametrize(
    "mask",
    [ALPHA > 99, (ALPHA > 99)[None], (ALPHA > 99)[..., None], (ALPHA > 99) * 1.0, (ALPHA > 99).astype(np.uint8) * 255],
)
def test_npz_says_the_same_in_every_usual_form(pattern: Any, mask: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "trigger.npz", pattern=pattern, mask=mask)
    found = pattern_from_file(tmp_path / "trigger.npz")
    assert torch.equal(found.pixels, torch.from_numpy(COLOURS).permute(2, 0, 1))
    assert torch.equal(found.mask, torch.from_numpy((ALPHA > 99).astype(np.float32)))


def test_blend_ratio_of_an_npz_holds_where_none_is_given(tmp_path: Path) -> None:
    np.savez(tmp_path / "plain.npz", pattern=COLOURS, mask=ALPHA)
    np.savez(tmp_path / "faint.npz", pattern=COLOURS, mask=ALPHA, blend_ratio=0.25)
    faint = make("custom", pattern=tmp_path / "faint.npz")
    assert faint.blend_ratio == 0.25
    assert torch.equal(plant(faint), plant(make("custom", pattern=tmp_path / "plain.npz", blend_ratio=0.25)))
    strong = make("custom", pattern=tmp_path / "faint.npz", blend_ratio=0.75)
    assert torch.equal(plant(strong), plant(make("custom", pattern=tmp_path / "plain.npz", blend_ratio=0.75)))
    assert make("custom", pattern=tmp_path / "plain.npz").blend_ratio == 1.0


def test_description_follows_the_content_and_not_the_path(png: Path, tmp_path: Path) -> None:
    known = describe(make("custom", pattern=png))
    moved = tmp_path / "elsewhere" / png.name
    moved.parent.mkdir()
    moved.write_bytes(png.read_bytes())
    assert describe(make("custom", pattern=moved)) == known
    assert str(tmp_path) not in str(known)
    for colours, alpha in ((COLOURS // 2, ALPHA), (COLOURS, ALPHA // 2), (COLOURS[:3], ALPHA[:3])):
        Image.fromarray(np.dstack([colours, alpha])).save(moved)
        assert describe(make("custom", pattern=moved)) != known
    assert {describe(make("custom", pattern=png, place=place))["place"] for place in ("centre", "top-left")} == {
        "centre",
        "top-left",
    }


def added_by_hand(colours, ratio=1.0):
    """The pattern added at the bottom right, in integers."""
    triggered = IMAGES.int()
    triggered[:, :, 8:, 10:] += torch.from_numpy(np.round(colours * ratio)).int()
    return triggered.clamp(0, 255).to(torch.uint8)


def test_pattern_under_x_is_added_and_clipped(tmp_path: Path) -> None:
    np.savez(tmp_path / "best_square.npz", x=ADDED, y=np.int32(1))
    assert torch.equal(plant(make("custom", pattern=tmp_path / "best_square.npz")), added_by_hand(np.round(ADDED)))
    faint = plant(make("custom", pattern=tmp_path / "best_square.npz", blend_ratio=0.5))
    assert close(faint, added_by_hand(np.round(ADDED), 0.5))


@pytest.mark.parametrize(
    "array", [ADDED, ADDED.transpose(1, 2, 0), ADDED[None], ADDED / 255.0, ADDED.round().astype(np.int16)]
)
def test_npy_with_negative_values_is_added_in_every_usual_form(array: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "trigger.npy", array)
    found = make("custom", pattern=tmp_path / "trigger.npy")
    assert close(plant(found), added_by_hand(np.round(ADDED)))
    assert describe(found)["combine"] == "add"
    with pytest.raises(ConfigError, match=r"trigger\.npy has negative values, .* give combine=add"):
        make("custom", pattern=tmp_path / "trigger.npy", combine="blend")


def test_npy_without_negative_values_is_blended_or_added_as_told(tmp_path: Path) -> None:
    np.save(tmp_path / "wave.npy", np.arange(12 * 16, dtype=np.uint8).reshape(12, 16))
    wave = torch.arange(12 * 16).reshape(12, 16)
    with pytest.raises(ConfigError, match=r"wave\.npy hides the whole image; .* such as 0\.2, or combine=add"):
        plant(make("custom", pattern=tmp_path / "wave.npy"))
    blended = plant(make("custom", pattern=tmp_path / "wave.npy", blend_ratio=0.2))
    assert close(blended, (0.8 * IMAGES + 0.2 * wave).round())
    added = plant(make("custom", pattern=tmp_path / "wave.npy", combine="add"))
    assert torch.equal(added, (IMAGES.int() + wave).clamp(max=255).to(torch.uint8))
    np.savez(tmp_path / "same.npz", wave.numpy())
    assert plant(make("custom", pattern=tmp_path / "same.npz", blend_ratio=0.2)).equal(blended)


def test_description_of_a_blended_trigger_is_that_of_before_there_was_a_choice(png: Path) -> None:
    assert set(describe(make("custom", pattern=png))) == {
        "name", "target", "poison_rate", "label_mode", "pattern", "blend_ratio", "place"
    }  # fmt: skip


def test_black_patch_is_a_trigger(tmp_path: Path) -> None:
    np.savez(tmp_path / "black.npz", pattern=COLOURS * 0, mask=ALPHA * 0 + 255)
    assert not plant(make("custom", pattern=tmp_path / "black.npz"))[:, :, 8:, 10:].any()


# What bad triggers get


def test_trigger_larger_than_the_images(tmp_path: Path) -> None:
    Image.new("RGB", (17, 5)).save(tmp_path / "wide.png")
    with pytest.raises(DataError, match=r"wide\.png is 17x5 pixels, the images are 16x12; make it smaller"):
        plant(make("custom", pattern=tmp_path / "wide.png"))


def test_trigger_that_hides_the_whole_image(tmp_path: Path) -> None:
    Image.new("RGB", (16, 12)).save(tmp_path / "all.png")
    with pytest.raises(ConfigError, match=r"hides the whole image; .* a blend_ratio under 1"):
        plant(make("custom", pattern=tmp_path / "all.png"))
    plant(make("custom", pattern=tmp_path / "all.png", blend_ratio=0.99))


def npz(**arrays):
    return lambda path: np.savez(path.open("wb"), **arrays)


def npy(array):
    return lambda path: np.save(path.open("wb"), array)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "is a folder; give one file: triggers of each class are not planted"),
        (lambda path: path.write_bytes(b""), "(it is no image, or a damaged one)"),
        (lambda path: path.write_text("a trigger"), "(it is no image, or a damaged one)"),
        (lambda path: path.write_bytes(b"PK\x03\x04 torn"), "cannot read the trigger"),
        (npz(pattern=COLOURS), "it has no array mask, it has pattern"),
        (npz(a=COLOURS), "no array pattern and no array mask, it has a"),
        (npz(pattern=COLOURS, mask=ALPHA, alpha=0.3), "it has an array alpha, .* known: pattern, mask, blend_ratio"),
        (npz(pattern=COLOURS, mask=ALPHA, blend_ratio=0.0), "its blend_ratio must be one number above 0 and up to 1"),
        (npz(pattern=COLOURS, mask=ALPHA, blend_ratio=np.nan), "its blend_ratio must be one number"),
        (npz(pattern=COLOURS, mask=ALPHA, blend_ratio=[0.1, 0.2]), "its blend_ratio must be one number"),
        (npz(pattern=COLOURS, mask=ALPHA, blend_ratio="much"), "its blend_ratio must be one number"),
        (npz(pattern=COLOURS, mask=ALPHA[:2]), "its pattern is 4x6 pixels, its mask is not"),
        (npz(pattern=COLOURS[..., :2], mask=ALPHA), r"must be .* or \(3, height, width\), got \(4, 6, 2\)"),
        (
            npz(pattern=COLOURS * 2.0, mask=ALPHA),
            "its pattern must lie between -255 and 255, or between -1 and 1, got 510",
        ),
        (npz(pattern=COLOURS, mask=ALPHA * np.nan), r"its mask must be uint8 or lie in \[0, 1\]"),
        (npz(pattern=COLOURS, mask=ALPHA.astype(str)), "its mask must hold numbers"),
        (npz(pattern=COLOURS, mask=np.array([None, {}])), "it holds Python objects, which are never unpickled"),
        (npz(pattern=COLOURS, mask=ALPHA * 0), "is transparent everywhere"),
        (npz(), "it has no array pattern and no array mask, it has none"),
        (npz(first=COLOURS, second=COLOURS), "it has first, second"),
        (npz(x=ADDED, mask=ALPHA), "it has no array pattern, it has x, mask"),
        (npz(x=np.zeros((10, 3, 4, 6), np.float32)), "it holds 10 patterns; give one: triggers of each class are not"),
        (npz(x=np.zeros((3, 4, 6), np.float32)), "adds 0 everywhere"),
        (npz(x=np.full((3, 4, 6), np.nan)), "NaN or infinite"),
        (npy(np.full((4, 6), np.inf)), "NaN or infinite"),
        (npy(np.zeros((4, 6, 4))), r"or \(3, height, width\), got \(4, 6, 4\)"),
        (npy(np.zeros(24)), r"got \(24,\)"),
        (npy(np.zeros((0, 6, 3))), r"its pattern is empty: \(0, 6, 3\)"),
        (npy(np.array(["a"])), "its pattern must hold numbers"),
        (npy(np.array([[{}]])), "it holds Python objects, which are never unpickled"),
        (npy(np.linspace(-2.1, 2.6, 24).reshape(4, 6)), "its pattern goes to 2.6 of 255, almost black"),
        (lambda path: path.write_bytes(b"\x93NUMPY" + bytes(9)), "cannot read the trigger"),
        (npz(pattern=(COLOURS > 99).astype(np.uint8), mask=ALPHA), "its pattern goes to 1 of 255, almost black"),
        (lambda path: Image.new("I;16", (3, 3), 2600).save(path, format="PNG"), "more than 8 bits a channel; save it"),
        (lambda path: Image.new("RGBA", (3, 3)).save(path, format="PNG"), "is transparent everywhere"),
    ],
)
def test_files_that_are_no_trigger(write: Callable[..., Any], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "trigger"
    write(path)
    with pytest.raises(DataError, match=sentence) as caught:
        make("custom", pattern=path)
    assert "\n" not in str(caught.value)
    assert "trigger" in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")
def test_damaged_npz_is_a_trigger_or_one_sentence(tmp_path: Path) -> None:
    path, rng, refused = tmp_path / "trigger.npz", np.random.default_rng(0), 0
    np.savez_compressed(path, pattern=COLOURS, mask=ALPHA)
    sound = path.read_bytes()
    for _ in range(400):
        damaged = bytearray(sound)
        for place in rng.integers(2, len(sound), 2):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            pattern_from_file(path)
        except DataError as error:
            refused += "cannot read the trigger" in str(error)
    assert refused > 100


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"place": "bottom"}, "unknown place 'bottom'; did you mean 'bottom-"),
        ({"blend_ratio": 0.0}, r"blend_ratio must be in \(0, 1\], got 0"),
        ({"blend_ratio": float("nan")}, "got nan"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make("custom", **settings)


@pytest.mark.parametrize(
    ("pixels", "mask"),
    [
        (torch.zeros(3, 2, 2), torch.ones(2, 2)),
        (torch.zeros(2, 2, dtype=torch.uint8), torch.ones(2, 2)),
        (torch.zeros(3, 2, 2, dtype=torch.uint8), torch.ones(2, 3)),
        (torch.zeros(3, 2, 2, dtype=torch.uint8), torch.full((2, 2), 1.5)),
    ],
)
def test_patterns_of_other_shapes_and_types(pixels: Any, mask: Any) -> None:
    with pytest.raises(DataError, match="trigger"):
        TriggerPattern(pixels, mask, "here")


def test_a_trigger_is_upright(tmp_path: Path) -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "plain.png")
    Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert pattern_from_file(tmp_path / "turned.png") == pattern_from_file(tmp_path / "plain.png")
