from typing import Any

import optuna
import pytest
import torch

import search_spaces
from nad import models
from nad.erasure import PRESETS, EraseConfig
from nad.errors import ConfigError
from nad.models.taps import tap
from search_spaces import Domain, SearchSpace
from search_spaces.nad import beta_range

DOMAIN = Domain(layers=("group1", "group2", "group3"), clean_fractions=(0.01, 0.05, 0.2))


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


@pytest.fixture(params=search_spaces.SPACES)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return search_spaces.get(request.param)


@pytest.mark.parametrize("last", [False, True])
def test_both_ends_of_every_range_make_a_valid_erase(space: SearchSpace, last: bool) -> None:
    point = space.suggest(EndOfRange(last), DOMAIN)
    assert isinstance(point.erase, EraseConfig)
    assert point.clean_fraction in DOMAIN.clean_fractions


def test_controls_are_points_of_the_space(space: SearchSpace) -> None:
    for _name, params in space.controls(DOMAIN):
        trial = optuna.trial.FixedTrial(params)
        point = space.suggest(trial, DOMAIN)
        assert trial.params == params
        assert point.clean_fraction in DOMAIN.clean_fractions


def test_beta_ranges_follow_the_pixels_of_the_maps() -> None:
    """One beta for all layers in the paper's sum is, as a mean over the map, that beta times the map's pixels."""
    network = models.make("wrn-10-1", 10)
    with tap(network, DOMAIN.layers) as maps:
        network(torch.zeros(2, 3, 32, 32))
    counts = {layer: maps[layer].shape[2] * maps[layer].shape[3] for layer in DOMAIN.layers}
    for end in (0, 1):
        assert len({beta_range(layer, DOMAIN.layers)[end] / count for layer, count in counts.items()}) == 1


def test_released_betas_lie_inside_their_ranges() -> None:
    """Optuna draws anew for a value outside its range, so a control would silently be another point."""
    for layer, beta in PRESETS["code"].weights.items():
        low, high = beta_range(layer, DOMAIN.layers)
        assert low <= beta <= high


def test_controls_hold_fine_tuning_at_every_clean_fraction(space: SearchSpace) -> None:
    tuned = {
        point.clean_fraction
        for name, params in space.controls(DOMAIN)
        if name == "fine-tuning"
        for point in [space.suggest(optuna.trial.FixedTrial(params), DOMAIN)]
        if not point.erase.weights
    }
    assert tuned == set(DOMAIN.clean_fractions)


@pytest.mark.parametrize("recipe", PRESETS)
def test_preset_controls_run_exactly_the_preset(space: SearchSpace, recipe: Any) -> None:
    params = dict(space.controls(DOMAIN))[f"nad-{recipe}"]
    point = space.suggest(optuna.trial.FixedTrial(params), DOMAIN)
    assert point.erase == PRESETS[recipe]
    assert point.clean_fraction == 0.05


def test_controls_use_the_nearest_clean_fraction_that_the_study_has(space: SearchSpace) -> None:
    domain = Domain(DOMAIN.layers, (0.02, 0.1))
    assert dict(space.controls(domain))["nad-code"]["clean_fraction"] == 0.02


def test_beta_is_asked_only_for_chosen_layers(space: SearchSpace) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for trial in [study.ask() for _ in range(20)]:
        point = space.suggest(trial, DOMAIN)
        chosen = tuple(layer for layer in DOMAIN.layers if trial.params[f"distil_{layer}"])
        assert point.erase.layers == chosen
        assert {name for name in trial.params if name.startswith("beta_")} == {f"beta_{layer}" for layer in chosen}
        assert point.erase.betas == tuple(trial.params[f"beta_{layer}"] for layer in chosen)


def test_random_points_differ_in_everything_that_may_vary(space: SearchSpace) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    points = [space.suggest(study.ask(), DOMAIN) for _ in range(60)]
    for name in ("layers", "betas", "epochs", "schedule", "cutout"):
        assert len({getattr(point.erase, name) for point in points}) > 1
    assert {point.clean_fraction for point in points} == set(DOMAIN.clean_fractions)


def test_unknown_space_is_named_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="unknown search space 'nda'; did you mean 'nad'"):
        search_spaces.get("nda")


def test_published_betas_go_to_the_deepest_layers_of_a_model_that_names_them_otherwise(space: SearchSpace) -> None:
    domain = Domain(models.distillation_layers("resnet-18"), DOMAIN.clean_fractions)
    found = []
    for name, params in space.controls(domain):
        trial = optuna.trial.FixedTrial(params)
        weights = space.suggest(trial, domain).erase.weights
        assert trial.params == params
        found += [weights] if name.startswith("nad-") else []
    assert found == [{"layer2": 500.0, "layer3": 1000.0, "layer4": 1000.0}] * 2
