"""Attention as a picture: the right maps, in the right places, told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import plotly.colors
import pytest
import torch
from PIL import Image

from nad import models
from nad.attention import attention_map
from nad.attention_picture import (
    CIVIDIS,
    GAP,
    LINE,
    OPACITY,
    TILE,
    Attention,
    Scene,
    attend,
    beside,
    colours,
    draw,
    heat,
    overlay,
    save,
    tile,
    verdict,
)
from nad.augment import to_input
from nad.errors import ConfigError
from nad.models.taps import tap
from nad.seeds import generator

SIZE = 16
LAYERS = ("group1", "group2", "group3")


@pytest.fixture(scope="module")
def scene() -> Scene:
    images = torch.randint(0, 256, (4, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator(0, "images"))
    return Scene(images[:2], images[2:], torch.tensor([1, 2]), target_labels=torch.tensor([0, 0]))


def network(seed: int) -> models.DistillableModel:
    return models.make("wrn-10-1", 4, generator(seed, "weights"))


def looks_at(scene: Scene, *seeds: int) -> list[Attention]:
    return [attend(f"model {s}", network(s), scene.rows, LAYERS, power=2.0, operator="sum") for s in seeds]


def test_rows_are_each_clean_image_above_its_triggered_copy(scene: Scene) -> None:
    assert torch.equal(scene.rows[0::2], scene.clean)
    assert torch.equal(scene.rows[1::2], scene.triggered)


@pytest.mark.parametrize(("power", "operator"), [(1.0, "sum"), (4.0, "max")])
def test_maps_are_those_that_distillation_compares(scene: Scene, power: float, operator: str) -> None:
    model = network(0).eval()
    seen = attend("m", model, scene.rows, ("group2",), power=power, operator=operator)
    with torch.inference_mode(), tap(model, ("group2",)) as features:
        logits = model(to_input(scene.rows, torch.device("cpu")))
    assert torch.equal(seen.maps["group2"].flatten(1), attention_map(features["group2"], power, operator))
    assert seen.maps["group2"].shape == (4, SIZE // 2, SIZE // 2)
    assert torch.equal(seen.predicted, logits.argmax(dim=1))


def test_looking_changes_nothing_in_a_model(scene: Scene) -> None:
    model = network(0)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attend("m", model, scene.rows, LAYERS, power=2.0, operator="sum")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_layer_that_is_not_there_is_named(scene: Scene) -> None:
    with pytest.raises(ConfigError, match="unknown layer 'group4'"):
        attend("m", network(0), scene.rows, ("group4",), power=2.0, operator="sum")


def test_models_share_a_scale_on_an_image_and_images_do_not() -> None:
    faint, strong = torch.full((1, 2, 2), 0.1), torch.full((1, 2, 2), 0.4)
    warmth = heat(torch.stack([torch.cat([faint, strong]), torch.cat([strong, faint])]))
    assert warmth[:, :, 0, 0].tolist() == [[0.25, 1.0], [1.0, 0.25]]
    assert heat(torch.zeros(2, 1, 3, 3)).abs().sum() == 0


def test_colours_are_cividis_and_get_lighter_all_the_way() -> None:
    named = [plotly.colors.hex_to_rgb(colour) for colour in plotly.colors.sequential.Cividis]
    assert CIVIDIS.tolist() == [list(colour) for colour in named]
    lightness = colours(np.linspace(0, 1, 200)) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 0).all()


def test_map_is_enlarged_over_its_grey_image_and_keeps_its_place() -> None:
    image = Image.new("RGB", (TILE, TILE), (90, 90, 90))
    warmth = torch.zeros(4, 4)
    warmth[0, 3] = 1.0
    shown = np.asarray(overlay(image, warmth)).astype(float)
    low, high = (OPACITY * CIVIDIS[end] + (1 - OPACITY) * 90 for end in (0, -1))
    assert np.abs(shown[0, -1] - high).max() <= 0.5
    assert np.abs(shown[-1, 0] - low).max() <= 0.5
    assert np.abs(shown[0, 0] - low).max() <= 0.5


def test_verdict_says_what_a_prediction_means_to_the_attack() -> None:
    assert [verdict(predicted, 2, 0) for predicted in (0, 2, 1)] == [
        "says: the target",
        "says: the true class",
        "says: another class",
    ]


def find(sheet: np.ndarray, part: Image.Image) -> list[tuple[int, int]]:
    """The places of this tile in the sheet, as (top, left)."""
    wanted = np.asarray(part)
    corners = np.argwhere((sheet[: -TILE + 1, : -TILE + 1] == wanted[0, 0]).all(axis=2))
    return [(y, x) for y, x in corners if np.array_equal(sheet[y : y + TILE, x : x + TILE], wanted)]


def test_every_map_stands_in_its_images_row_and_its_models_column(scene: Scene) -> None:
    looks = looks_at(scene, 0, 1)
    sheet = np.asarray(draw(scene, looks, "a caption"))
    rows = [find(sheet, tile(image)) for image in scene.rows]
    assert all(len(places) == 1 for places in rows)
    tops = [places[0][0] for places in rows]
    assert tops == sorted(tops)
    columns = []
    for index in range(2):
        for layer in LAYERS:
            warmth = heat(torch.stack([seen.maps[layer] for seen in looks]))[index]
            places = [find(sheet, overlay(tile(image), warmth[row])) for row, image in enumerate(scene.rows)]
            assert [place[0][0] for place in places] == tops
            columns.append({place[0][1] for place in places})
    assert all(len(lefts) == 1 for lefts in columns)
    lefts = [min(column) for column in columns]
    assert lefts == sorted(lefts)
    assert lefts[1] - lefts[0] == TILE + GAP


def test_labels_are_in_the_picture(scene: Scene) -> None:
    looks = looks_at(scene, 0)
    drawn = draw(scene, looks, "power 2")
    (top, left) = find(np.asarray(drawn), tile(scene.rows[0]))[0]
    regions = {
        "model": (left + TILE, 0, drawn.width, top - LINE),
        "row": (0, top, left, top + TILE),
        "prediction": (left + TILE, top + TILE, drawn.width, top + TILE + LINE),
        "caption": (0, drawn.height - 2 * LINE, drawn.width, drawn.height),
    }
    for name, box in regions.items():
        assert np.asarray(drawn.crop(box)).min() < 140, name
    other = draw(scene, [looks[0]._replace(name="teacher")], "power 2")
    assert not np.array_equal(np.asarray(drawn), np.asarray(other))


def test_saved_picture_is_a_png_with_the_same_pixels(scene: Scene, tmp_path: Path) -> None:
    drawn = draw(scene, looks_at(scene, 0), "")
    save(tmp_path / "attention.png", drawn)
    assert [path.name for path in tmp_path.iterdir()] == ["attention.png"]
    with Image.open(tmp_path / "attention.png") as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), np.asarray(drawn))


def test_a_teacher_of_another_architecture_is_shown_under_the_students_layers(scene: Scene) -> None:
    student, teacher = looks_at(scene, 0, 1)
    pairs = {"group1": "group3", "group2": "group2", "group3": "group1"}
    shown = beside(teacher, student, pairs)
    assert {layer: maps.shape for layer, maps in shown.maps.items()} == {
        layer: maps.shape for layer, maps in student.maps.items()
    }
    assert torch.equal(shown.maps["group2"], teacher.maps["group2"])
    windows = teacher.maps["group1"].unflatten(1, (4, 4)).unflatten(3, (4, 4)).mean(dim=(2, 4))
    norms = windows.flatten(1).norm(dim=1)[:, None, None]
    torch.testing.assert_close(shown.maps["group3"], windows / norms)
    enlarged = teacher.maps["group3"].repeat_interleave(4, 1).repeat_interleave(4, 2)
    torch.testing.assert_close(shown.maps["group1"], enlarged / 4)
    assert draw(scene, [student, shown], "c").size == draw(scene, [student, teacher], "c").size
