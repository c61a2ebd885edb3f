import json

import optuna
import pytest

import search_spaces
from nad import models
from nad.attacks import ATTACKS
from nad.errors import ConfigError
from search_spaces import Domain, Point, portfolio
from search_spaces.portfolio import RECIPES, entries, left_out

SPACE = search_spaces.get("nad")


def domain_of(layers: tuple[str, ...], rms: float = 1.0) -> Domain:
    return Domain(layers, (0.05, 0.2), dict.fromkeys(layers, rms))


class Strict(optuna.trial.FixedTrial):
    """A trial with errors for values outside their ranges; Optuna's own only warns."""

    def _suggest(self, name, distribution):
        assert distribution._contains(distribution.to_internal_repr(self._params[name])), name
        return super()._suggest(name, distribution)


@pytest.mark.parametrize("rms", [0.3, 1.0, 7.0])
@pytest.mark.parametrize("model", models.MODELS)
def test_every_entry_lies_inside_the_default_space(model: str, rms: float) -> None:
    domain = domain_of(models.distillation_layers(model), rms)
    assert len(entries(domain)) == len(RECIPES)
    assert left_out(domain) == {}
    for entry in entries(domain):
        coordinates = SPACE.locate(entry.point, domain)
        assert SPACE.suggest(Strict(coordinates), domain) == entry.point, entry.name
        assert entry.point.clean_fraction == 0.05


def test_entries_are_few_and_differ() -> None:
    found = entries(domain_of(("group1", "group2", "group3")))
    assert 5 <= len(found) <= 8
    assert len({entry.name for entry in found}) == len(found)
    assert len({json.dumps(entry.point.values(("group1", "group2", "group3"))) for entry in found}) == len(found)


def test_every_entry_says_where_it_comes_from() -> None:
    for entry in entries(domain_of(("group1", "group2", "group3"))):
        assert entry.origin
        assert set(entry.tuned_on) <= set(ATTACKS)
        assert entry.tuned_on


@pytest.mark.parametrize("attack", ["badnets", "blend"])
def test_entries_tuned_on_an_attack_can_be_left_out(attack: str) -> None:
    domain = domain_of(("group1", "group2", "group3"))
    found, out = entries(domain, [attack]), left_out(domain, [attack])
    assert not any(attack in entry.tuned_on for entry in found)
    assert set(out.values()) == {f"tuned on {attack}"}
    assert {entry.name for entry in found} | set(out) == {recipe.name for recipe in RECIPES}


def test_entry_without_a_layer_of_the_model_is_left_out_with_its_reason() -> None:
    domain = domain_of(("only",))
    out = left_out(domain)
    assert set(out.values()) == {"distils group1, group2, and the model has no layer for it"}
    for entry in entries(domain):
        assert set(entry.point.erase.layers) <= {"only"}
        assert entry.name not in out
    assert any(entry.point.erase.layers for entry in entries(domain))


def test_entries_go_to_the_deepest_layers_of_a_deeper_model() -> None:
    domain = domain_of(models.distillation_layers("resnet-18"))
    found = {entry.name: entry.point.erase.layers for entry in entries(domain)}
    assert found["group3-lr-0.01"] == ("layer4",)
    assert found["groups-1-2-lr-0.01"] == ("layer2", "layer3")


def test_betas_follow_the_features_of_the_model() -> None:
    layers = ("group1", "group2", "group3")
    for small, large in zip(entries(domain_of(layers, 1.0)), entries(domain_of(layers, 3.0)), strict=True):
        assert large.point.erase.betas == pytest.approx([9 * beta for beta in small.point.erase.betas], rel=1e-3)
        assert large.point.erase.lr == small.point.erase.lr


def test_an_entry_by_its_values_is_the_same() -> None:
    layers = ("group1", "group2", "group3")
    for entry in entries(domain_of(layers)):
        assert Point.of(entry.point.values(layers)) == entry.point


def test_unknown_attack_is_named_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="unknown attack 'badnet'; did you mean 'badnets'"):
        portfolio.entries(domain_of(("group3",)), ["badnet"])
