from typing import Any

import numpy as np
import pytest
import torch
from attention_oracle import DISTANCES, numpy_map

from nad.attention import (
    CONVENTIONS,
    OPERATORS,
    attention_distance,
    attention_energy,
    attention_map,
    of_equal_size,
    unit_map,
)
from nad.errors import ConfigError


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(5, 7, 4, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("power", [1.0, 2.0, 3.5])
def test_map_has_unit_norm_and_one_value_per_pixel(features: torch.Tensor, operator: str, power: float) -> None:
    result = attention_map(features, power, operator)
    assert result.shape == (5, 24)
    torch.testing.assert_close(result.norm(dim=1), torch.ones(5))


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_sum_map_equals_a_loop_over_channels(features: torch.Tensor, power: float) -> None:
    expected = torch.zeros(5, 4, 6)
    for channel in range(7):
        expected += features[:, channel].abs() ** power
    expected = expected.flatten(1)
    torch.testing.assert_close(attention_map(features, power, "sum"), expected / expected.norm(dim=1, keepdim=True))


def test_max_map_takes_the_strongest_channel(features: torch.Tensor) -> None:
    expected = features.abs().pow(2).max(dim=1).values.flatten(1)
    torch.testing.assert_close(attention_map(features, 2.0, "max"), expected / expected.norm(dim=1, keepdim=True))


def test_mean_map_equals_sum_map_after_normalisation(features: torch.Tensor) -> None:
    torch.testing.assert_close(attention_map(features, 2.0, "mean"), attention_map(features, 2.0, "sum"))


@pytest.mark.parametrize("operator", OPERATORS)
def test_sign_and_scale_of_features_do_not_matter(features: torch.Tensor, operator: str) -> None:
    torch.testing.assert_close(attention_map(-3.0 * features, 2.0, operator), attention_map(features, 2.0, operator))


def test_one_pixel_map_is_refused() -> None:
    with pytest.raises(ConfigError, match="1x1"):
        attention_map(torch.randn(2, 3, 1, 1))


def test_dead_layer_gives_zeros_not_nan() -> None:
    assert attention_map(torch.zeros(2, 3, 4, 4)).eq(0).all()


def test_unknown_operator_is_named_with_a_suggestion(features: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match="'summ'; did you mean 'sum'"):
        attention_map(features, 2.0, "summ")


def test_conventions_follow_their_formulas(features: torch.Tensor) -> None:
    ours, theirs = attention_map(features), attention_map(features.flip(0))
    norms = (ours - theirs).norm(dim=1)
    torch.testing.assert_close(attention_distance(ours, theirs, "paper"), norms.mean())
    torch.testing.assert_close(attention_distance(ours, theirs, "code"), (norms**2).mean() / 24)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_equal_maps_have_no_distance_and_a_finite_gradient(features: torch.Tensor, convention: str) -> None:
    features.requires_grad_(True)
    distance = attention_distance(attention_map(features), attention_map(features.detach()), convention)
    distance.backward()
    assert distance.item() == 0
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("power", [1.0, 2.0, 3.5])
@pytest.mark.parametrize(
    ("ours", "theirs", "size"),
    [((8, 8), (8, 8), (8, 8)), ((8, 8), (4, 4), (4, 4)), ((4, 4), (16, 16), (4, 4)), ((7, 5), (5, 9), (5, 5))],
)
def test_maps_of_unequal_size_are_averaged_to_the_smaller_before_they_are_normalised(
    power: float, operator: str, convention: str, ours: Any, theirs: Any, size: Any
) -> None:
    draws = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(3, 6, *shape, generator=draws).double() for shape in (ours, theirs))
    energies = (attention_energy(features, power, operator) for features in (student, teacher))
    maps = [unit_map(energy) for energy in of_equal_size(*energies)]
    expected = [numpy_map(features.numpy(), power, operator, size) for features in (student, teacher)]
    for found, wanted in zip(maps, expected, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9)
    wanted = DISTANCES[convention](*expected)
    assert attention_distance(*maps, convention).item() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_gradient_through_pooled_maps_matches_finite_differences(operator: str, convention: str) -> None:
    draws = torch.Generator().manual_seed(2)
    student = torch.randn(2, 3, 6, 6, generator=draws).double().requires_grad_(True)
    teacher = attention_energy(torch.randn(2, 5, 4, 3, generator=draws).double(), 2.0, operator)

    def loss(features: torch.Tensor) -> torch.Tensor:
        ours, theirs = of_equal_size(attention_energy(features, 2.0, operator), teacher)
        return attention_distance(unit_map(ours), unit_map(theirs), convention)

    assert torch.autograd.gradcheck(loss, student)


def test_a_row_and_a_column_have_one_pixel_in_common_and_are_refused() -> None:
    row, column = torch.ones(2, 1, 5), torch.ones(2, 5, 1)
    with pytest.raises(ConfigError, match="1x1"):
        unit_map(of_equal_size(row, column)[0])
