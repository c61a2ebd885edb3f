from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.policies import POLICIES, Arguments, Case, fixed, judge, main, replayed, rule, simulated
from benchmarks.policies_table import random_settings
from reports.analysis.frontier import Bound
from search_spaces import Domain

QUIET = (0.2, 0.001, 0.001)


def table(settings: int = 12, draws: int = 6) -> pd.DataFrame:
    """ASR is a setting's number in percent plus a thousandth of the draw's; the first two are controls."""
    setting, draw = np.divmod(np.arange(settings * draws), draws)
    control = pd.Series(setting).map({0: "nad-paper", 1: "fine-tuning"})
    asr = (settings - setting) / 100 + draw / 1000
    return pd.DataFrame({"setting": setting, "draw": draw, "control": control, "asr": asr, "acc": 0.8})


def test_replayed_search_never_sees_the_fresh_draws() -> None:
    case = replayed(table(), 2, 0.7, np.random.default_rng(0))
    seen = np.round(case.scores[0, :, 0] * 1000).astype(int) % 10
    assert case.scores.shape == (12, 4, 2)
    fresh = sorted(set(range(6)) - set(seen.tolist()))
    assert case.truth[0, 0] == pytest.approx(0.12 + np.mean(fresh) / 1000)
    assert case.known[:, 0].min() == pytest.approx(0.01 + 2.5 / 1000)


def test_controls_come_first_and_two_of_them_are_the_first_look_at_the_noise() -> None:
    case = replayed(table(), 2, 0.7, np.random.default_rng(0))
    assert case.controls == 2
    assert case.known[:2, 0] == pytest.approx([0.12 + 2.5 / 1000, 0.11 + 2.5 / 1000])
    assert case.references == (1, 0)


@pytest.mark.parametrize(("wrong", "fresh"), [(table().iloc[1:], 2), (table(), 6)], ids=["a gap", "too few draws"])
def test_unfit_table_is_refused(wrong: pd.DataFrame, fresh: int) -> None:
    with pytest.raises(ValueError, match="the table has 6 draws"):
        replayed(wrong, fresh, None, np.random.default_rng(0))


def test_single_runs_take_the_luckiest_and_the_mean_of_more_draws_does_not() -> None:
    scores = np.full((6, 3, 2), 0.8)
    scores[:, :, 0] = 0.4
    scores[2, :, 0] = [0.0, 0.9, 0.9]
    case = Case(scores, scores.mean(axis=1), scores.mean(axis=1), Bound(0.0, 0.5), 0)
    assert fixed(1)(case, 6) == (2, 0.0)
    assert fixed(3)(case, 18) != (2, pytest.approx(0.6))
    assert judge(fixed(1), [case], 6)["optimism"] == pytest.approx(0.6)
    assert judge(fixed(1), [case], 6)["regret"] == pytest.approx(0.2)


def test_repeater_gives_each_setting_draws_of_its_own() -> None:
    scores = np.zeros((4, 4, 2))
    scores[:, :, 0] = np.arange(4) / 10  # by draw
    case = Case(scores, scores.mean(axis=1), scores.mean(axis=1), Bound(0.0, 0.0), 0)
    assert fixed(2)(case, 8).asr == pytest.approx(0.05)
    assert fixed(2, common=False)(case, 8) == (0, pytest.approx(0.05))
    assert fixed(2, common=False)(case._replace(scores=scores[:, ::-1]), 8) == (2, pytest.approx(0.05))


def test_every_policy_spends_its_erases_alone() -> None:
    case = simulated(QUIET, np.random.default_rng(0))
    for policy in POLICIES.values():
        answer = policy(case, 20)
        assert answer == policy(
            case._replace(scores=np.where(np.arange(160)[:, None, None] < 20, case.scores, 0.5)), 20
        )


def test_rule_ends_where_the_table_has_no_more_settings() -> None:
    case = replayed(table(4, 3), 1, 0.7, np.random.default_rng(0))
    assert rule(case, 50).setting in range(4)


def test_rule_is_ahead_of_single_runs_in_a_noisy_table() -> None:
    cases = [simulated((0.2, 0.2, 0.17), np.random.default_rng(seed)) for seed in range(15)]
    ours, single = (judge(policy, cases, 60) for policy in (rule, fixed(1)))
    assert abs(ours["optimism"]) < 0.08
    assert single["optimism"] > 0.15
    assert ours["regret"] < single["regret"] + 0.02


def test_command_prints_the_figures_of_every_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table().to_csv(tmp_path / "table.csv", index=False)
    main(Arguments(table=tmp_path / "table.csv", seeds=2, erases=(12,), fresh=2))
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["policy"] for row in rows] == list(POLICIES)
    assert all(abs(row["optimism"]) < 0.05 for row in rows)
    with pytest.raises(SystemExit, match="give a table"):
        main(Arguments())


def test_recorded_settings_are_the_controls_and_the_same_random_ones_each_time() -> None:
    domain = Domain(("group1", "group2", "group3"), (0.05,), {"group1": 1.0, "group2": 1.0, "group3": 1.0})
    few, more = random_settings(domain, 8), random_settings(domain, 12)
    assert more[:8] == few
    assert few[0].name == "fine-tuning"
    assert [one.name for one in more[5:]] == [""] * 7
    assert len({str(one.point) for one in more}) == 12
