from __future__ import annotations

import warnings
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.analysis.estimates import PRIORS, Estimates, Prior, estimate
from reports.analysis.frontier import Indices
from reports.analysis.objectives import Floats

DEVIATIONS = {"strong": (0.2, 0.2, 0.17), "weak": (0.2, 0.05, 0.05), "accuracy": (0.043, 0.008, 0.013)}
"""Of settings, draws and rest: ASR and ACC as measured, and an ASR of little noise."""
FRACTIONS = st.integers(0, 20).map(lambda twentieth: twentieth / 20)
ERASES = st.lists(st.tuples(FRACTIONS, FRACTIONS, st.integers(0, 6), st.integers(0, 4)), max_size=20)


def grid(settings: int, draws: int) -> tuple[Indices, Indices]:
    """Setting and draw of each erase of a full table."""
    setting, draw = np.divmod(np.arange(settings * draws), draws)
    return setting, draw


def adaptive(settings: int, repeats: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Every setting on draw 0, and some on further draws."""
    extra = [(setting, draw) for setting in rng.permutation(settings)[: repeats // 4] for draw in range(1, 5)]
    setting, draw = np.array([*((one, 0) for one in range(settings)), *extra], dtype=np.intp).T
    return setting, draw


def simulate(
    setting: Indices, draw: Indices, deviations: tuple[float, float, float], rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Scores of erases, (erases,), and of the settings over fresh draws, (settings,)."""
    of_settings, of_draws, rest = deviations
    truth = 0.5 + of_settings * rng.normal(size=setting.max() + 1)
    noise = of_draws * rng.normal(size=draw.max() + 1)[draw] + rest * rng.normal(size=len(setting))
    return truth[setting] + noise, truth


def by_row(found: Estimates) -> list[Floats]:
    return [found.mean, found.error, found.kappa, np.array(found.interval())]


@pytest.fixture(scope="module")
def erases() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    setting, draw = adaptive(40, 60, rng)
    scores, _truth = simulate(setting, draw, (0.1, 0.1, 0.08), rng)
    return pd.DataFrame({"score": scores, "setting": setting, "draw": draw, "all": 1})


@pytest.fixture(scope="module")
def mixed_model(erases: pd.DataFrame) -> Any:
    from statsmodels.regression.mixed_linear_model import MixedLM

    crossed = {"setting": "0 + C(setting)", "draw": "0 + C(draw)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its optimiser, on the way
        return MixedLM.from_formula("score ~ 1", groups="all", vc_formula=crossed, data=erases).fit()


def variances(mixed_model: Any) -> tuple[float, float, float]:
    """Of settings, draws and rest."""
    found = dict(zip(mixed_model.model.exog_vc.names, mixed_model.vcomp, strict=True))
    return found["setting"], found["draw"], float(mixed_model.scale)


def settled(of_settings: float, of_draws: float, rest: float) -> Prior:
    """A prior that leaves no doubt about the ratios, and none of its own about the rest."""
    return Prior(rest**0.5, (of_settings / rest, of_draws / rest), spread=1e-6, erases=1e-9)


def test_effects_are_those_of_statsmodels_at_its_variances(erases: pd.DataFrame, mixed_model: Any) -> None:
    prior = settled(*variances(mixed_model))
    found = estimate(
        erases[["score"]].to_numpy(), erases["setting"].to_numpy(), erases["draw"].to_numpy(), priors=(prior,)
    )
    effects = mixed_model.random_effects[1]
    mean = mixed_model.fe_params["Intercept"]
    expected = [mean + effects[f"setting[C(setting)[{setting}]]"] for setting in found.settings]
    np.testing.assert_allclose(found.mean[:, 0], np.clip(expected, 0, 1), atol=1e-5)
    assert found.error[0, 0] > 0


def test_variances_are_near_those_of_statsmodels(erases: pd.DataFrame, mixed_model: Any) -> None:
    of_settings, of_draws, rest = variances(mixed_model)
    found = estimate(erases[["score"]].to_numpy(), erases["setting"].to_numpy(), erases["draw"].to_numpy())
    assert found.kappa[0] == pytest.approx((of_draws + rest) / of_settings, rel=0.35)


def test_errors_are_those_of_the_full_covariance(erases: pd.DataFrame) -> None:
    """Best linear unbiased prediction, with the inverse of all scores' covariance and no shortcut."""
    of_settings, of_draws, rest = 0.01, 0.02, 0.006
    setting, draw, scores = (erases[name].to_numpy() for name in ("setting", "draw", "score"))
    same = setting[:, None] == setting[None]
    inverse = np.linalg.inv(of_settings * same + of_draws * (draw[:, None] == draw[None]) + rest * np.eye(len(draw)))
    ones = np.ones(len(draw))
    doubt = 1 / (ones @ inverse @ ones)
    mean = doubt * (ones @ inverse @ scores)
    covariance = of_settings * (np.arange(40)[:, None] == setting[None])
    expected = mean + covariance @ inverse @ (scores - mean)
    share = 1 - covariance @ inverse @ ones
    variance = of_settings - np.einsum("se,ef,sf->s", covariance, inverse, covariance) + doubt * share**2
    found = estimate(scores[:, None], setting, draw, priors=(settled(of_settings, of_draws, rest),))
    np.testing.assert_allclose(found.mean[:, 0], expected, atol=1e-6)
    ratio = found.error[:, 0] / np.sqrt(variance)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)  # the scale of the rest is estimated, not given
    assert ratio[0] == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("deviations", DEVIATIONS.values(), ids=DEVIATIONS.keys())
@pytest.mark.parametrize("draws", range(1, 9))
def test_intervals_of_full_tables_cover(draws: int, deviations: tuple[float, float, float]) -> None:
    assert covered([grid(15, draws)] * 80, deviations) >= (0.9 if draws < 4 else 0.92)


@pytest.mark.parametrize("deviations", DEVIATIONS.values(), ids=DEVIATIONS.keys())
def test_intervals_of_adaptive_tables_cover(deviations: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(3)
    assert 0.9 <= covered([adaptive(20, 20, rng) for _study in range(150)], deviations) <= 0.995


def test_intervals_cover_neither_too_little_nor_too_much_over_all_studies() -> None:
    rng = np.random.default_rng(4)
    tables = [table for draws in range(3, 9) for table in (grid(20, draws), adaptive(30, 40, rng))] * 8
    for deviations in DEVIATIONS.values():
        assert 0.9 <= covered(tables, deviations) <= 0.98


def covered(tables: list[tuple[Indices, Indices]], deviations: tuple[float, float, float]) -> float:
    """Share of the settings of simulated studies whose interval holds their score over fresh draws."""
    rng, hits = np.random.default_rng(11), []
    column = 1 if deviations == DEVIATIONS["accuracy"] else 0
    for setting, draw in tables:
        scores, truth = simulate(setting, draw, deviations, rng)
        low, high = estimate(scores[:, None], setting, draw, priors=(PRIORS[column],)).interval()
        truth = np.clip(truth, 0, 1)
        hits.extend((low[:, 0] <= truth) & (truth <= high[:, 0]))
    return float(np.mean(hits))


def test_kappa_is_the_priors_before_the_first_erase_and_finite_after_it() -> None:
    none = estimate(np.empty((0, 3)), np.array([], dtype=np.intp), np.array([], dtype=np.intp))
    assert none.kappa == pytest.approx([prior.kappa for prior in PRIORS])
    assert none.mean.shape == none.interval()[0].shape == (0, 3)
    assert none.reliable.shape == (0,)
    one = estimate(np.array([[0.3, 0.8, 0.7]]), np.array([7]), np.array([0]))
    assert one.mean[0] == pytest.approx([0.3, 0.8, 0.7])
    assert (np.isfinite(one.kappa) & (one.kappa > 0)).all()
    assert one.interval()[0][0, 0] < 0.1
    assert one.interval()[1][0, 0] > 0.6


def test_noise_raises_kappa_and_its_absence_lowers_it() -> None:
    setting, draw = grid(20, 4)
    noisy, quiet = (
        estimate(simulate(setting, draw, deviations, np.random.default_rng(0))[0][:, None], setting, draw)
        for deviations in ((0.05, 0.2, 0.2), (0.2, 0.02, 0.02))
    )
    assert noisy.kappa[0] > PRIORS[0].kappa > 10 * quiet.kappa[0]
    assert quiet.reliability.min() > 0.9


@given(ERASES)
def test_estimates_are_defined_for_every_table(rows: list[tuple[float, float, int, int]]) -> None:
    asr, acc, setting, draw = np.array(rows, dtype=float).reshape(-1, 4).T
    scores = np.column_stack((asr, acc, np.full(len(asr), np.nan)))
    found = estimate(scores, setting.astype(np.intp), draw.astype(np.intp))
    low, high = found.interval()
    assert ((low[:, :2] >= 0) & (low <= found.mean)[:, :2] & (found.mean <= high)[:, :2] & (high[:, :2] <= 1)).all()
    assert (found.kappa > 0).all()
    assert np.isnan(found.mean[:, 2]).all()
    assert found.draws.tolist() == [len({row[3] for row in rows if row[2] == one}) for one in found.settings]


@given(ERASES.filter(bool), st.randoms(use_true_random=False))
def test_order_of_the_erases_does_not_matter(rows: list[tuple[float, float, int, int]], random: Random) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    tables = [np.array(order, dtype=float) for order in (rows, shuffled)]
    first, second = (
        by_row(estimate(table[:, :2], table[:, 2].astype(np.intp), table[:, 3].astype(np.intp))) for table in tables
    )
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6, rtol=1e-5)


def test_identical_scores_have_that_score() -> None:
    setting, draw = grid(6, 3)
    found = estimate(np.full((18, 2), 0.25), setting, draw)
    assert found.mean == pytest.approx(0.25)
    assert np.isfinite(found.error).all()


def test_a_draw_that_shifts_all_settings_moves_no_rank_and_hardly_a_score() -> None:
    rng = np.random.default_rng(2)
    setting, draw = adaptive(12, 24, rng)
    scores = simulate(setting, draw, (0.1, 0.0, 0.02), rng)[0]
    shifted = scores + 0.2 * (draw == 1)
    before, after = (estimate(of[:, None], setting, draw).mean[:, 0] for of in (scores, shifted))
    repeated = np.unique(setting[draw == 1])
    assert np.argsort(after[repeated]).tolist() == np.argsort(before[repeated]).tolist()
    once = np.setdiff1d(setting, repeated)
    raw = [np.array([of[setting == one].mean() for one in repeated]).mean() - of[np.isin(setting, once)].mean()
           for of in (scores, shifted)]  # fmt: skip
    model = [of[repeated].mean() - of[once].mean() for of in (before, after)]
    assert abs(model[1] - model[0]) < abs(raw[1] - raw[0]) / 4


def test_single_erases_are_shrunk_more_than_repeated_ones() -> None:
    setting = np.array([0, 1, 1, 1, 1, 2, 3, 4, 5, 6, 2, 3])
    draw = np.array([0, 0, 1, 2, 3, 0, 0, 0, 0, 0, 1, 1])
    scores = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.5, 0.6, 0.4, 0.7, 0.5, 0.6, 0.5])[:, None]
    found = estimate(scores, setting, draw)
    assert 0.1 < found.mean[1, 0] < found.mean[0, 0] < 0.5
    assert found.error[1, 0] < found.error[0, 0]
    assert found.reliability[1] > found.reliability[0]


def test_two_erases_of_one_setting_on_one_draw_count_as_their_mean() -> None:
    twice = estimate(np.array([[0.2], [0.4], [0.6]]), np.array([0, 0, 1]), np.array([0, 0, 0]))
    once = estimate(np.array([[0.3], [0.6]]), np.array([0, 1]), np.array([0, 0]))
    for one, other in zip(by_row(twice), by_row(once), strict=True):
        np.testing.assert_allclose(one, other)
    assert twice.draws.tolist() == [1, 1]


def test_column_measured_in_part_is_estimated_from_that_part() -> None:
    scores = np.array([[0.2, 0.8, np.nan], [0.3, 0.7, 0.6], [0.4, 0.9, 0.8]])
    found = estimate(scores, np.array([4, 5, 6]), np.array([0, 0, 0]))
    part = estimate(scores[1:], np.array([5, 6]), np.array([0, 0]))
    assert np.isnan(found.mean[0, 2])
    assert found.mean[1:, 2] == pytest.approx(part.mean[:, 2])
    assert not np.isnan(found.mean[:, :2]).any()


def test_the_draws_common_effect_is_part_of_the_error() -> None:
    """One draw has one effect, however many settings meet it."""
    setting, draw = grid(200, 1)
    scores, _truth = simulate(setting, draw, DEVIATIONS["strong"], np.random.default_rng(0))
    assert estimate(scores[:, None], setting, draw).error.min() > 0.1
