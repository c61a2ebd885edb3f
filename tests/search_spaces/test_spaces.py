"""Contracts of every search space."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import optuna
import pytest
import torch

import search_spaces
from nad import models
from nad.erasure import PRESETS, EraseConfig
from nad.errors import ConfigError
from nad.models.taps import tap
from search_spaces import Domain, Point, SearchSpace
from search_spaces.nad import STRENGTH_RANGE, unit
from search_spaces.nad_published import beta_range

LAYERS = ("group1", "group2", "group3")
DOMAIN = Domain(LAYERS, (0.01, 0.05, 0.2), dict(zip(LAYERS, (0.7, 1.3, 2.1), strict=True)))


class EndOfRange(optuna.trial.FixedTrial):
    """A trial with the first or the last value of every range."""

    def __init__(self, last: bool) -> None:
        super().__init__({})
        self._last = last

    def _suggest(self, name, distribution):
        if isinstance(distribution, optuna.distributions.CategoricalDistribution):
            value = distribution.choices[-1 if self._last else 0]
        else:
            value = distribution.high if self._last else distribution.low
        self._params[name] = value
        self._distributions[name] = distribution
        return value


class Strict(optuna.trial.FixedTrial):
    """A trial with errors for values outside their ranges; Optuna's own only warns."""

    def _suggest(self, name, distribution):
        assert distribution._contains(distribution.to_internal_repr(self._params[name])), name
        return super()._suggest(name, distribution)


def inside(space: SearchSpace, point: Point, domain: Domain = DOMAIN) -> bool:
    """Whether a setting's coordinates lead back to it."""
    coordinates = space.locate(point, domain)
    trial = Strict(coordinates)
    try:
        found = space.suggest(trial, domain)
    except (AssertionError, ValueError, KeyError):
        return False
    return found == point and trial.params == coordinates


def random_points(space: SearchSpace, count: int, domain: Domain = DOMAIN) -> Iterator[tuple[Point, dict[str, Any]]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for trial in [study.ask() for _ in range(count)]:
        yield space.suggest(trial, domain), trial.params


@pytest.fixture(params=search_spaces.SPACES)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return search_spaces.get(request.param)


@pytest.mark.parametrize("last", [False, True])
def test_both_ends_of_every_range_are_settings_inside(space: SearchSpace, last: bool) -> None:
    point = space.suggest(EndOfRange(last), DOMAIN)
    assert isinstance(point.erase, EraseConfig)
    assert inside(space, point)


def test_a_setting_leads_to_its_coordinates_and_back(space: SearchSpace) -> None:
    for point, coordinates in random_points(space, 60):
        located = space.locate(point, DOMAIN)
        assert located.keys() == coordinates.keys()
        assert inside(space, point)
        for name, value in coordinates.items():
            # lr and beta are rounded to four digits
            assert located[name] == (pytest.approx(value, rel=2e-3) if isinstance(value, float) else value), name


def test_a_setting_by_its_values_is_the_same(space: SearchSpace) -> None:
    for point, _ in random_points(space, 20):
        assert Point.of(point.values(LAYERS)) == point


@pytest.mark.parametrize("name", ["nad", "nad-published", "fine-tuning"])
@pytest.mark.parametrize(
    "change",
    [
        {"weight_decay": 0.01},
        {"power": 4.0},
        {"lr": 1.0},
        {"epochs": 60},
        {"cutout": 7},
        {"batch_size": 256},
        {"sam_rho": 1.0},
        {"label_smoothing": 0.1},
    ],
)
def test_a_setting_with_another_value_lies_outside(name: str, change: dict[str, Any]) -> None:
    space = search_spaces.get(name)
    for point, _ in random_points(space, 5):
        assert not inside(space, point._replace(erase=replace(point.erase, **change)))


def test_an_unrounded_setting_of_an_earlier_study_has_its_place() -> None:
    space = search_spaces.get("nad")
    lr, middle = 0.0123456789, (STRENGTH_RANGE[0] * STRENGTH_RANGE[1]) ** 0.5
    betas = tuple(middle * unit(layer, lr, DOMAIN) for layer in LAYERS)
    point = Point(0.05, replace(PRESETS["low-lr"], lr=lr, betas=betas))
    found = space.suggest(Strict(space.locate(point, DOMAIN)), DOMAIN)
    assert found.erase.betas == pytest.approx(betas, rel=1e-3)
    assert replace(found.erase, betas=betas, lr=point.erase.lr) == point.erase


def test_a_space_of_ones_own_needs_no_inverse_and_no_learning_rate() -> None:
    def suggest(trial: optuna.trial.BaseTrial, domain: Domain) -> Point:
        epochs = trial.suggest_int("epochs", 5, 15)
        return Point(domain.clean_fractions[0], replace(PRESETS["paper"].twin(), epochs=epochs))

    space = SearchSpace(suggest=suggest, controls=lambda _domain: (), clean_fractions=(0.01,), version=1)
    for point, coordinates in random_points(space, 5):
        assert space.locate(point, DOMAIN) == coordinates
    assert not inside(space, Point(0.01, PRESETS["code"]))


@pytest.mark.parametrize("base", ["nad", "fine-tuning"])
def test_a_space_may_search_sam_with_and_without_distillation(base: str) -> None:
    def suggest(trial: optuna.trial.BaseTrial, domain: Domain) -> Point:
        point, rho = search_spaces.get(base).suggest(trial, domain), trial.suggest_float("sam_rho", 0.5, 2.0)
        return point._replace(erase=replace(point.erase, sam_rho=rho, label_smoothing=0.1))

    space = replace(search_spaces.get(base), suggest=suggest)
    for point, coordinates in random_points(space, 5):
        values = point.values(LAYERS)
        assert (values["sam_rho"], values["label_smoothing"]) == (coordinates["sam_rho"], 0.1)
        assert Point.of(values) == point
        assert inside(space, point)
        assert point.erase.twin().sam_rho == point.erase.sam_rho


def test_a_beta_is_drawn_only_for_chosen_layers(space: SearchSpace) -> None:
    for point, coordinates in random_points(space, 20):
        chosen = tuple(layer for layer in LAYERS if coordinates.get(f"distil_{layer}"))
        assert point.erase.layers == chosen
        drawn = {name.split("_", 1)[1] for name in coordinates if name.startswith(("beta_", "strength_"))}
        assert drawn == set(chosen)


@pytest.mark.parametrize(
    ("name", "varying"),
    [
        ("nad", ("layers", "betas", "lr", "batch_size", "schedule", "epochs")),
        ("nad-published", ("layers", "betas", "schedule", "cutout", "epochs")),
        ("fine-tuning", ("lr", "batch_size", "schedule", "epochs")),
    ],
)
def test_exactly_these_settings_vary(name: str, varying: tuple[str, ...]) -> None:
    points = [point for point, _ in random_points(search_spaces.get(name), 60)]
    values = {each: {getattr(point.erase, each) for point in points} for each in vars(EraseConfig())}
    assert {each for each, found in values.items() if len(found) > 1} == set(varying)
    assert {point.clean_fraction for point in points} == set(DOMAIN.clean_fractions)


def test_fine_tuning_distils_nothing() -> None:
    assert not any(point.erase.layers for point, _ in random_points(search_spaces.get("fine-tuning"), 20))


@pytest.mark.parametrize("factor", [0.1, 30.0])
def test_betas_follow_the_features(factor: float) -> None:
    """At the same strength: features ten times as large take a hundred times the beta."""
    space = search_spaces.get("nad")
    scaled = DOMAIN._replace(rms={layer: factor * rms for layer, rms in DOMAIN.rms.items()})
    for point, coordinates in random_points(space, 20):
        other = space.suggest(Strict(coordinates), scaled)
        expected = [factor**2 * beta for beta in point.erase.betas]
        assert other.erase.betas == pytest.approx(expected, rel=1e-3)
        assert replace(other.erase, betas=point.erase.betas) == point.erase


@pytest.mark.parametrize("layer", LAYERS)
def test_strength_is_the_rate_times_beta_over_the_mean_square(layer: str) -> None:
    coordinates = {"clean_fraction": 0.05, "lr": 0.02, "batch_size": 64, "schedule": "paper", "epochs": 5}
    distilled = {**{f"distil_{each}": each == layer for each in LAYERS}, f"strength_{layer}": 10.0}
    point = search_spaces.get("nad").suggest(Strict({**coordinates, **distilled}), DOMAIN)
    assert point.erase.weights == pytest.approx({layer: 10.0 * DOMAIN.rms[layer] ** 2 / 0.02}, rel=1e-3)


def test_a_strength_is_that_of_one_step_at_any_rate() -> None:
    space = search_spaces.get("nad")
    for point, coordinates in random_points(space, 20):
        slower = space.suggest(Strict({**coordinates, "lr": 0.003}), DOMAIN)
        products = [point.erase.lr * beta for beta in point.erase.betas]
        assert [0.003 * beta for beta in slower.erase.betas] == pytest.approx(products, rel=1e-3)


@pytest.mark.parametrize("layer", LAYERS)
def test_published_ranges_follow_the_pixels_of_the_maps(layer: str) -> None:
    """One beta for all layers in the paper's sum is, as a mean over the map, that beta times the map's pixels."""
    network = models.make("wrn-10-1", 10)
    with tap(network, LAYERS) as maps:
        network(torch.zeros(2, 3, 32, 32))
    pixels = maps[layer].shape[2] * maps[layer].shape[3] / (maps["group3"].shape[2] * maps["group3"].shape[3])
    assert [end / pixels for end in beta_range(layer, LAYERS)] == list(beta_range("group3", LAYERS))


def test_controls_hold_fine_tuning_at_every_clean_fraction(space: SearchSpace) -> None:
    tuned = [point for name, point in space.controls(DOMAIN) if name == "fine-tuning"]
    assert [point.clean_fraction for point in tuned] == [0.05, 0.01, 0.2]
    assert {point.erase for point in tuned} == {PRESETS["code"].twin()}


@pytest.mark.parametrize(
    ("control", "preset"), [("nad-paper", "paper"), ("nad-code", "code"), ("nad-low-lr", "low-lr")]
)
def test_preset_controls_run_exactly_the_preset(space: SearchSpace, control: str, preset: str) -> None:
    assert dict(space.controls(DOMAIN))[control] == Point(0.05, PRESETS[preset])


def test_low_rate_controls_differ_in_the_distillation_alone(space: SearchSpace) -> None:
    controls = dict(space.controls(DOMAIN))
    assert controls["fine-tuning-low-lr"].erase == controls["nad-low-lr"].erase.twin()


def test_controls_use_the_nearest_clean_fraction_that_the_study_has(space: SearchSpace) -> None:
    domain = DOMAIN._replace(clean_fractions=(0.02, 0.1))
    assert dict(space.controls(domain))["nad-code"].clean_fraction == 0.02


@pytest.mark.parametrize("model", models.MODELS)
def test_every_control_is_a_setting_on_the_layers_of_the_model(space: SearchSpace, model: str) -> None:
    layers = models.distillation_layers(model)
    domain = Domain(layers, (0.05,), dict.fromkeys(layers, 1.0))
    for _name, point in space.controls(domain):
        assert set(point.erase.layers) <= set(layers)
        assert Point.of(point.values(layers)) == point
        space.locate(point, domain)


def test_published_betas_go_to_the_deepest_layers_of_a_model_that_names_them_otherwise(space: SearchSpace) -> None:
    layers = models.distillation_layers("resnet-18")
    domain = Domain(layers, (0.05,), dict.fromkeys(layers, 1.0))
    found = [point.erase.weights for name, point in space.controls(domain) if name.startswith("nad-")]
    assert found == [{"layer2": 500.0, "layer3": 1000.0, "layer4": 1000.0}] * 3


def test_published_settings_lie_inside_the_published_space() -> None:
    space = search_spaces.get("nad-published")
    for name in ("fine-tuning", "nad-paper", "nad-code"):
        assert inside(space, dict(space.controls(DOMAIN))[name]), name


CIFAR10 = DOMAIN._replace(rms=dict(zip(LAYERS, (1.59, 1.22, 0.861), strict=True)))
"""Of a Blend victim, WRN-16-1."""


@pytest.mark.parametrize(
    ("lr", "betas"),
    [
        (0.01, (500.0, 1000.0, 1000.0)),
        (0.003, (500.0, 1000.0, 1000.0)),
        (0.01, (1500.0, 3000.0, 3000.0)),
        (0.003, (1500.0, 3000.0, 3000.0)),
        (0.01, (5000.0, 0.0, 0.0)),
        (0.01, (0.0, 0.0, 300.0)),
        (0.1, (500.0, 1000.0, 1000.0)),
    ],
)
def test_settings_that_did_well_on_cifar10_lie_inside(lr: float, betas: tuple[float, ...]) -> None:
    weights = {layer: beta for layer, beta in zip(LAYERS, betas, strict=True) if beta}
    erase = replace(PRESETS["low-lr"], lr=lr, layers=tuple(weights), betas=tuple(weights.values()))
    assert inside(search_spaces.get("nad"), Point(0.05, erase), CIFAR10)


def test_nad_as_released_lies_inside_on_cifar10() -> None:
    assert inside(search_spaces.get("nad"), Point(0.05, PRESETS["code"]), CIFAR10)


def test_fine_tuning_lies_inside_the_spaces_that_have_its_rate() -> None:
    for name in ("nad", "fine-tuning"):
        space = search_spaces.get(name)
        controls = dict(space.controls(DOMAIN))
        assert inside(space, controls["fine-tuning"])
        assert inside(space, controls["fine-tuning-low-lr"])


def test_a_setting_of_other_layers_lies_outside(space: SearchSpace) -> None:
    other = Point(0.05, replace(PRESETS["low-lr"], layers=("layer3",), betas=(1.0,)))
    assert not inside(space, other)


@pytest.mark.parametrize("end", STRENGTH_RANGE)
@pytest.mark.parametrize("rms", [0.123456, 1.2345, 98.7654])
def test_a_rounded_beta_at_an_end_of_its_range_stays_inside(end: float, rms: float) -> None:
    domain = DOMAIN._replace(rms=dict.fromkeys(LAYERS, rms))
    training = {"clean_fraction": 0.05, "lr": 0.01234, "batch_size": 64, "schedule": "paper", "epochs": 5}
    distilled = dict.fromkeys((f"distil_{layer}" for layer in LAYERS), True)
    strengths = dict.fromkeys((f"strength_{layer}" for layer in LAYERS), end)
    space = search_spaces.get("nad")
    assert inside(space, space.suggest(Strict({**training, **distilled, **strengths}), domain), domain)


def test_unknown_space_is_named_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="unknown search space 'nda'; did you mean 'nad'"):
        search_spaces.get("nda")
