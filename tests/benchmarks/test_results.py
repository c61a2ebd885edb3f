"""What is kept of a study, the page made of it, and one study that is measured again."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.results import (
    APPENDIX,
    PAGE,
    ROOT,
    all_results,
    beyond_fine_tuning,
    command,
    disagreements,
    require_confirmed,
    result_of,
)
from benchmarks.results_confirmed import comparison
from benchmarks.results_figure import FIGURE, LIMIT, effects, effects_figure
from benchmarks.results_page import MARKS, appendix, is_confirmed, of_one_share, with_overview
from benchmarks.results_tables import BEYOND
from reports.files import ReportError, read_json

CONFIG = {"identity": {"precision": "bfloat16"}}


def scores(asr: float, acc: float, seeds: int = 3) -> dict[str, Any]:
    interval = {"asr_ci": [asr - 0.1, asr + 0.1], "acc_ci": [acc - 0.01, acc + 0.01]}
    runs = [{"draw": draw, "asr": asr, "acc": acc} for draw in range(1, seeds + 1)]
    return {"asr": asr, "acc": acc, **interval, "seeds": seeds, "diverged": 0, "runs": runs}


def point(asr: float, acc: float, twin: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    validation = {"asr": asr, "acc": acc}
    return {"number": 1, "params": params, "validation": validation, "test": scores(asr, acc), "twin": twin}


@pytest.fixture
def summary() -> dict[str, Any]:
    return {
        "study": "badnets-cifar10",
        "attack": "badnets",
        "attack_settings": {"name": "badnets", "label_mode": "dirty"},
        "dataset": "cifar10",
        "model": "wrn-16-1",
        "victim_sha256": "ab12",
        "space": "nad",
        "seed": 0,
        "command": "python -m study.run --attack badnets --data-dir '/home/me/my data' --trials 24 --output /tmp/x",
        "created": "2026-11-25T00:00:00+00:00",
        "versions": {"torch": "2.14.1", "ray": "2.60.0", "optuna": "5.0.0"},
        "git": "0123456789ab",
        "trials": {"complete": 23, "pruned": 1},
        "wanted_trials": 24,
        "stopped": None,
        "confirmation": {"draws": 3, "runs": 12, "done": 12},
        "seconds": {"victim": 600.4, "total": 3000.2},
        "hypervolume": 0.812345,
        "max_acc_drop": 0.03,
        "recommended_why": "The lowest.",
        "controls": [
            {**point(1.0, 0.84), "name": "no-defence", "test": scores(1.0, 0.84, seeds=1)},
            {**point(0.2, 0.82, clean_fraction=0.05), "name": "fine-tuning"},
            {**point(0.05, 0.79, clean_fraction=0.05), "name": "fine-pruning"},
        ],
        "lost_baselines": [{"name": "anp", "clean_fraction": 0.05, "error": "its loss was nan"}],
        "recommended": {
            **point(
                0.1, 0.81, scores(0.2, 0.80), distil_group1=True, beta_group1=500.0, epochs=10, clean_fraction=0.05
            ),
            "clean_model": {"before": scores(0.015, 0.85, seeds=1), "after": scores(0.015, 0.8)},
        },
    }


def test_a_result_holds_the_confirmed_points_and_nothing_of_the_machine(summary: dict[str, Any]) -> None:
    result = result_of(summary, CONFIG)
    assert [row["name"] for row in result["rows"]] == [
        "no-defence",
        "fine-tuning",
        "fine-pruning",
        "recommended",
    ]
    assert result["rows"][-1]["twin"]["acc"] == 0.80
    assert (result["precision"], result["trials"], result["hypervolume"]) == ("bfloat16", 23, 0.8123)
    assert result["command"] == "python -m study.run --attack badnets --data-dir DIR --trials 24"
    text = json.dumps(result)
    assert "/home" not in text
    assert "/tmp" not in text


def test_options_about_the_machine_leave_the_command() -> None:
    text = "python -m study.run --cache /c --attack sig --workers 2 --name n --output=/o --data-dir=/d --confirm 3"
    assert command(text) == "python -m study.run --attack sig --name n --data-dir DIR --confirm 3"
    with pytest.raises(ReportError, match="names '/home/me/p', which others do not have: it cannot be kept"):
        command("python -m study.run --attack refool --reflections /home/me/p")


def test_a_study_whose_confirmation_is_missing_is_no_result(summary: dict[str, Any]) -> None:
    for each in summary["controls"][1:]:
        each["test"] = None
    with pytest.raises(ReportError, match="no scores on test images for fine-tuning, fine-pruning; run"):
        result_of(summary, CONFIG)


def test_a_study_that_was_confirmed_in_part_is_no_result(summary: dict[str, Any]) -> None:
    partly = deepcopy(summary)
    partly["controls"][2]["test"]["seeds"] = 2
    with pytest.raises(
        ReportError, match=r"not confirmed to the end \(runs: .*fine-pruning 2, recommended 3\); run its"
    ):
        result_of(partly, CONFIG)
    partly["controls"][2]["test"]["diverged"] = 1
    assert "3 runs, 1 more diverged" not in appendix([result_of(summary, CONFIG)])
    assert "1 more diverged) / 79.0%" in appendix([result_of(partly, CONFIG)])
    summary["recommended"]["test"] = None
    with pytest.raises(ReportError, match="no scores on test images for recommended; run"):
        result_of(summary, CONFIG)


def test_a_search_that_is_not_at_its_end_is_no_result(summary: dict[str, Any]) -> None:
    summary["wanted_trials"] = 30
    with pytest.raises(ReportError, match="study 'badnets-cifar10' has 24 of its 30 trials; run its command again"):
        result_of(summary, CONFIG)
    assert result_of(summary | {"stopped": "The front stopped growing."}, CONFIG)["trials"] == 23


@pytest.fixture
def over_shares(summary: dict[str, Any]) -> dict[str, Any]:
    """A confirmed study of two shares of clean data."""
    summary |= {"study": "badnets-cifar10-fractions"}
    summary["controls"].insert(1, {**point(0.5, 0.80, clean_fraction=0.01), "name": "fine-tuning"})
    summary["controls"].append({**point(0.03, 0.77, clean_fraction=0.05), "name": "nad-paper"})
    return summary


@pytest.fixture
def searched(over_shares: dict[str, Any]) -> dict[str, Any]:
    """One that asked for no confirmation."""
    summary = over_shares
    summary |= {"confirmation": None}
    for each in (*summary["controls"], summary["recommended"]):
        each |= {"test": None, "twin": None, "clean_model": None}
    return summary


def test_a_search_without_confirmation_has_a_table_of_its_own(searched: dict[str, Any]) -> None:
    beyond = {BEYOND: {"distilling": {"better": 2, "of": 9}, "plain": {"better": 0, "of": 4}}}
    result = {**result_of(searched, CONFIG), **beyond}
    assert not is_confirmed(result)
    text = appendix([result])
    assert "| study | victim | fine-tuning, 1% | fine-tuning, 5% | NAD, paper | NAD, code | recommended |" in text
    controls = "100.0% / 84.0% | 50.0% / 80.0% | 20.0% / 82.0% | 3.0% / 77.0% | –"
    best = "distilled group1 (β 500), epochs 10, clean data 5% | 10.0% / 81.0% | -10.0 / -1.0"
    counts = "2 of 9 distilling, 0 of 4 plain"
    assert f"| badnets-cifar10-fractions | {controls} | {best} | {counts} |" in text
    assert "What the recommended setting beats" not in text
    assert "### On the test images" not in text
    searched["recommended"]["params"]["clean_fraction"] = 0.1
    assert f"| 10.0% / 81.0% | – | {counts} |" in appendix([{**result_of(searched, CONFIG), **beyond}])
    searched["recommended"] = None
    text = appendix([{**result_of(searched, CONFIG), **beyond}])
    assert f"| badnets-cifar10-fractions | {controls} | – | – | – | {counts} |" in text


def test_trials_are_counted_that_beat_fine_tuning_with_as_much_clean_data_in_both_scores() -> None:
    def trial(asr: float, acc: float, share: float, beta: float = 0.0, control: str = "") -> dict[str, Any]:
        params = {"clean_fraction": share, "distil_group1": beta > 0, **({"beta_group1": beta} if beta else {})}
        return {"asr": asr, "acc": acc, "params": params, "control": control}

    trials = [
        trial(0.3, 0.7, 0.05, control="fine-tuning"),
        trial(0.2, 0.8, 0.1, control="fine-tuning"),
        trial(0.1, 0.9, 0.1, beta=500.0, control="nad-paper"),  # a control is none of the search's own
        trial(0.25, 0.75, 0.05, beta=500.0),
        trial(0.25, 0.75, 0.1, beta=500.0),
        trial(0.1, 0.8, 0.1, beta=500.0),  # no higher ACC
        trial(0.1, 0.85, 0.1),
        trial(0.1, 0.85, 0.2),  # whose control failed
    ]
    assert beyond_fine_tuning(pd.DataFrame(trials)) == {
        "distilling": {"better": 1, "of": 3},
        "plain": {"better": 1, "of": 1},
    }


def test_searches_count_neither_as_measured_on_test_images_nor_in_their_means(
    summary: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    before = result_of(deepcopy(summary), CONFIG)
    search = {**result_of(request.getfixturevalue("searched"), CONFIG), BEYOND: {}}
    first = appendix([before]).partition("## What others report")[0]
    both = appendix([before, search])
    assert both.startswith(first)
    assert both.partition(first)[2].lstrip().startswith("## Over all shares of clean data")


def test_the_page_shows_each_defence_and_what_the_recommended_setting_beats(summary: dict[str, Any]) -> None:
    for run, asr in zip(summary["recommended"]["test"]["runs"], (0.02, 0.1, 0.18), strict=True):
        run["asr"] = asr
    text = appendix([result_of(summary, CONFIG)])
    controls = "20.0% (20 to 20, 3 runs) / 82.0% | 5.0% (5 to 5, 3 runs) / 79.0% | *diverged*"
    scores = f"{controls} | 10.0% (2 to 18, 3 runs) / 81.0%"
    assert f"| badnets-cifar10 | dirty | 5% | 1.5% / 85.0% | 100.0% / 84.0% | {scores} |" in text
    # a lower ASR than fine-tuning with as much clean data, a higher ACC than fine-pruning, and both than its twin
    compared = "ASR: -10.0 / -1.0 | ACC: +5.0 / +2.0 | – |"
    assert f"| badnets-cifar10 | distilled group1 (β 500), epochs 10, clean data 5% | 3.0 / 3 | {compared}" in text
    assert "| badnets-cifar10 | – | – | both: -10.0 / +1.0 |" in text
    assert "| badnets | NAD authors' README, WRN-16-1; ACC without the target class | 100.00 / 85.65 |" in text
    assert "python -m study.run --attack badnets --data-dir DIR --trials 24" in text


def test_a_confirmed_search_over_shares_is_compared_where_others_own_as_much(over_shares: dict[str, Any]) -> None:
    beyond = {BEYOND: {"distilling": {"better": 2, "of": 9}}}
    text = appendix([{**result_of(over_shares, CONFIG), **beyond}])
    head = (
        "| study | clean model | victim | recommended | against fine-tuning, code | against fine-pruning | against its"
    )
    assert head in text
    scores = "1.5% / 85.0% | 100.0% / 84.0% | 10.0% (10 to 10, 3 runs) / 81.0%"
    compared = "ASR: -10.0 / -1.0 | ACC: +5.0 / +2.0 | both: -10.0 / +1.0 | ACC: +7.0 / +4.0 | –"
    assert f"| badnets-cifar10-fractions | {scores} | {compared} |" in text
    assert "What the recommended setting beats" not in text
    over_shares["recommended"]["params"]["clean_fraction"] = 0.01
    assert f"{scores} | both: -40.0 / +1.0 | ACC: +5.0 / +2.0 (5%) | both" in appendix(
        [{**result_of(over_shares, CONFIG), **beyond}]
    )
    over_shares["controls"].append({**point(0.4, 0.79, clean_fraction=0.01), "name": "mode-connectivity"})
    text = appendix([{**result_of(over_shares, CONFIG), **beyond}])
    assert "against fine-pruning | against MCR | against its twin" in text
    assert f"{scores} | both: -40.0 / +1.0 | ACC: +5.0 / +2.0 (5%) | both: -30.0 / +2.0 | both" in text
    over_shares["recommended"] = None
    text = appendix([{**result_of(over_shares, CONFIG), **beyond}])
    assert "| badnets-cifar10-fractions | – | 100.0% / 84.0% | none | – | – | – | – | – | – |" in text


def test_a_search_over_shares_is_compared_with_what_a_study_of_one_share_did_to_the_same_victim(
    summary: dict[str, Any], over_shares: dict[str, Any]
) -> None:
    search = {**result_of(over_shares, CONFIG), BEYOND: {"distilling": {"better": 2, "of": 9}}}
    one = deepcopy(search) | {"study": "one"}
    one["rows"] = [row for row in one["rows"] if row["params"].get("clean_fraction") != 0.01]
    one["rows"].append({**point(0.4, 0.79, clean_fraction=0.05), "name": "mode-connectivity"})
    search["rows"][-1]["params"]["clean_fraction"] = 0.01
    found = "both: -40.0 / +1.0 | ACC: +5.0 / +2.0 (5%) | both: -30.0 / +2.0 (5%) | both"
    assert found in appendix([search, one])
    other = one | {"victim_sha256": "cd34"}
    text = appendix([search, other])
    assert "against MCR" not in text
    assert "both: -40.0 / +1.0 | ACC: +5.0 / +2.0 (5%) | both" in text


def test_fine_tuning_by_the_papers_recipe_is_the_twin_of_its_nad(summary: dict[str, Any]) -> None:
    summary["controls"].append(
        {**point(0.03, 0.77, scores(0.25, 0.79), clean_fraction=0.05), "name": "nad-paper"},
    )
    text = appendix([result_of(summary, CONFIG)])
    assert "| fine-tuning, code | fine-tuning, paper | fine-pruning | ANP | NAD, paper | recommended |" in text
    tuned = "20.0% (20 to 20, 3 runs) / 82.0% | 25.0% (25 to 25, 3 runs) / 79.0% | 5.0% (5 to 5, 3 runs) / 79.0%"
    assert tuned in text
    assert "| badnets-cifar10 | ASR: -22.0 / -2.0 | – | both: -10.0 / +1.0 |" in text
    assert "| 3.0 / 3 | ASR: -10.0 / -1.0 | both: -15.0 / +2.0 | ACC: +5.0 / +2.0 |" in text


def test_what_distillation_adds_is_averaged_over_the_studies_of_a_data_set(summary: dict[str, Any]) -> None:
    results = []
    for asr, acc in ((-0.01, 0.01), (-0.02, 0.02), (0.12, 0.015)):
        summary["recommended"]["twin"] |= {"pairs": 3, "asr_added": asr, "acc_added": acc}
        results.append(deepcopy(result_of(summary, CONFIG)))
    assert "| mean, cifar10 | – | – | +3.0 / +1.5 (3 studies) |" in appendix(results)
    assert "mean, cifar10" not in appendix(results[:1])


def test_a_defence_that_the_page_does_not_know_has_a_column_too(summary: dict[str, Any]) -> None:
    summary["controls"].append({**point(0.07, 0.78, clean_fraction=0.05), "name": "shrink"})
    text = appendix([result_of(summary, CONFIG)])
    assert "| fine-pruning | ANP | shrink | recommended |" in text
    assert "| 7.0% (7 to 7, 3 runs) / 78.0% | 10.0% (10 to 10, 3 runs) / 81.0% |" in text


def test_the_page_says_where_nothing_is_recommended_or_all_runs_diverged(summary: dict[str, Any]) -> None:
    lost = deepcopy(summary)
    lost["recommended"]["test"] |= dict.fromkeys(("asr", "acc", "asr_ci", "acc_ci"))
    assert "| badnets-cifar10 | *diverged* | – / 3 | – | – | – |" in appendix([result_of(lost, CONFIG)])
    summary["recommended"] = None
    text = appendix([result_of(summary, CONFIG)])
    assert "| badnets-cifar10 | none | – / 3 | – | – | – |" in text
    assert "| badnets-cifar10 | dirty | 5% | – | 100.0% / 84.0% |" in text
    assert "Nothing has been kept yet" in appendix([])


@pytest.mark.parametrize(
    ("asr", "acc", "said"),
    [
        (0.1, 0.9, "both: -10.0 / +10.0"),
        (0.1, 0.7, "ASR: -10.0 / -10.0"),
        (0.3, 0.9, "ACC: +10.0 / +10.0"),
        (0.2, 0.8, "neither: +0.0 / +0.0"),
    ],
)
def test_a_comparison_names_what_is_better(asr: float, acc: float, said: str) -> None:
    assert comparison(scores(asr, acc), scores(0.2, 0.8)) == said


def test_a_comparison_is_of_the_draws_that_both_had_and_bold_where_it_is_shown() -> None:
    ours, other = scores(0.1, 0.8), scores(0.2, 0.8)
    for run, asr, acc in zip(ours["runs"], (0.10, 0.12, 0.13), (0.70, 0.80, 0.93), strict=True):
        run |= {"asr": asr, "acc": acc}
    assert comparison(ours, other) == "both: **-8.3** / +1.0"
    del other["runs"][2]  # two pairs show less than three
    assert comparison(ours, other) == "ASR: -9.0 / -5.0"
    assert comparison(ours, {"runs": []}) == "–"


def test_a_repeated_measurement_agrees_within_its_tolerance(summary: dict[str, Any]) -> None:
    known = result_of(summary, CONFIG)
    again = deepcopy(known)
    again["rows"][-1]["test"]["asr"] = 0.9  # the recommended settings of two searches may differ
    again["rows"][0]["test"]["acc"] -= 0.02
    again["rows"][1]["test"]["asr_ci"] = [0.29, 0.4]
    assert disagreements(known, again) == []
    again["rows"][0]["test"]["asr"] -= 0.06
    again["rows"][1]["test"] |= {"asr_ci": [0.31, 0.4], "asr": 0.35}
    again["rows"][1]["test"]["acc"] -= 0.05
    again["rows"][2]["test"] |= {"asr": None, "acc": None}
    assert disagreements(known, again) == [
        "the victim's asr was 1.000 and is 0.940",
        "fine-tuning's acc was 0.820 and is 0.770",
        "fine-tuning's asr was 0.200 and is 0.350, outside both intervals",
        "fine-pruning diverged",
    ]
    del again["rows"][2]
    assert disagreements(known, again)[-1] == "fine-pruning was not measured again"


def test_the_pages_in_the_documentation_are_made_of_the_results() -> None:
    assert APPENDIX.read_text() == appendix(all_results()), "run python -m benchmarks.results"
    assert PAGE.read_text() == with_overview(PAGE.read_text(), all_results()), "run python -m benchmarks.results"


def test_the_short_table_has_victim_fine_tuning_and_both_settings_of_nad(summary: dict[str, Any]) -> None:
    summary["controls"].append({**point(0.03, 0.77, scores(0.25, 0.79), clean_fraction=0.05), "name": "nad-paper"})
    before, after = MARKS
    text = with_overview(f"# Title\n\n{before}\nold\n{after}\n\nend\n", [result_of(summary, CONFIG)])
    row = "| BadNets, CIFAR-10 | 100.0% / 84.0% | 25.0% / 79.0% | 3.0% / 77.0% | 10.0% / 81.0% |"
    assert text.splitlines()[6] == row
    assert "old" not in text
    assert text.endswith(f"{after}\n\nend\n")
    assert with_overview(text, [result_of(summary, CONFIG)]) == text


def test_the_figure_has_each_effect_that_has_an_interval(summary: dict[str, Any]) -> None:
    twin = {"pairs": 2, "asr_added": -0.01, "asr_added_ci": [-0.5, 0.03], "acc_added": -0.9, "acc_added_ci": None}
    summary["recommended"]["twin"] |= twin
    (found,) = effects([result_of(summary, CONFIG)])
    assert found == ("BadNets, CIFAR-10", "recommended", "asr", -1.0, -50.0, 3.0)
    marks = next(trace for trace in effects_figure([found]).data if len(trace.x))
    assert (marks.x, marks.error_x.array, marks.error_x.arrayminus) == ((-1.0,), (4.0,), (19.0,))  # cut at -20
    figure = effects_figure([found._replace(mean=-90.0, low=-95.0, high=-70.0)])
    (far,) = (trace for trace in figure.data if len(trace.x))
    assert (far.x, far.marker.symbol) == ((-20.0,), ("triangle-left",))
    assert [(note.x, note.text) for note in figure.layout.annotations] == [(-20.0, "-90.0")]


def test_the_figure_in_the_documentation_names_every_study_and_all_that_lies_beyond_its_axes() -> None:
    drawn = FIGURE.read_text()
    found = effects(of_one_share(all_results()))
    texts = {effect.study for effect in found} | {f"{effect.mean:+.1f}" for effect in found if abs(effect.mean) > LIMIT}
    assert [text for text in texts if text.replace("-", "−") not in drawn and text not in drawn] == []


def test_each_result_is_confirmed_to_the_end_or_not_and_names_no_machine_nor_a_folder_of_it() -> None:
    results = all_results()
    assert any(is_confirmed(result) for result in results)
    for result in results:
        if any(row["test"] for row in result["rows"]):
            require_confirmed(result["study"], result["rows"])
        assert "/" not in result["command"]
        assert "host" not in result


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_result_is_measured_again(tmp_path: Path) -> None:
    """Its victim and its controls, without the search: as many trials as there are controls."""
    known = read_json(ROOT / "results" / "refool-fashion-m.json")
    words = shlex.split(known["command"])
    controls = {"fine-tuning", "nad-paper", "nad-code"}
    words[words.index("--trials") + 1] = str(sum(row["name"] in controls for row in known["rows"]))
    places = ["--output", str(tmp_path), "--name", "again", "--cache", str(tmp_path / "cache")]
    run = [sys.executable, *words[1:], *places, "--precision", known["precision"]]
    subprocess.run(run, check=True, cwd=ROOT)
    summary, config = (read_json(tmp_path / "again" / f"{name}.json") for name in ("summary", "config"))
    assert disagreements(known, result_of(summary, config)) == []
