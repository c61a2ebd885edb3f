from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.answer import added_by_distillation, answer, caveats, unfinished
from reports.study_folder import CleanModel, FreshScores, Point, Scores, Study, Twin, read_study

Make = Callable[..., Path]
SETTING = {"distil_group3": True, "beta_group3": 900.0, "epochs": 10, "clean_fraction": 0.1, "recipe": "code"}


@pytest.fixture
def study(make_study: Make) -> Study:
    return read_study(make_study())


def _point(params: dict[str, Any]) -> Point:
    return Point("recommended", 9, params, Scores(asr=0.2412, acc=0.7505))


def test_the_answer_states_the_gain_and_the_cost(study: Study) -> None:
    found = answer(study)
    assert found.recommended is not None
    assert "from 93.4% to" in found.headline
    assert f"to {100 * found.recommended.acc:.1f}%." in found.headline
    assert found.params["clean data"].endswith("%")


def test_the_comparison_holds_victim_controls_and_recommended_in_this_order(study: Study) -> None:
    rivals = answer(study).rivals
    assert [rival.label for rival in rivals] == [
        "no defence",
        "fine-tuning",
        "NAD (paper)",
        "NAD (code)",
        "fine-tuning",
        "recommended",
    ]
    assert [rival.recommended for rival in rivals] == [False] * 5 + [True]
    assert rivals[1].acc_change == pytest.approx(0.7605 - 0.7825)


def test_a_control_that_loses_too_much_accuracy_is_marked(make_study: Make) -> None:
    def change(_rows: Any, summary: Any) -> None:
        summary["controls"][1]["validation"] = {"asr": 0.1, "acc": 0.7825 - 0.0301}
        summary["controls"][2]["validation"] = {"asr": 0.1, "acc": 0.7825 - 0.03}

    rivals = answer(read_study(make_study(change=change))).rivals
    assert [rival.kept for rival in rivals[1:3]] == [False, True]


def test_distillation_is_measured_against_fine_tuning_on_the_same_clean_data(study: Study) -> None:
    sentence = added_by_distillation(study.complete, _point(SETTING))
    assert "on 10% clean data (trial 0) ends at 74.1% ASR and 76.0% ACC" in sentence
    assert "ASR moved by −50.0 points, ACC by −1.0 points." in sentence
    assert "also differ" not in sentence


def test_what_else_differs_from_fine_tuning_is_said(study: Study) -> None:
    sentence = added_by_distillation(study.complete, _point(SETTING | {"epochs": 20, "recipe": "paper", "power": 2.0}))
    assert sentence.endswith("The two runs also differ in epochs, recipe.")


def test_several_runs_of_fine_tuning_are_compared_by_their_best(make_study: Make) -> None:
    study = read_study(make_study(change=lambda rows, _: rows[3].update(params_clean_fraction=0.1)))
    assert "(the best of 2 runs, trial 3)" in added_by_distillation(study.complete, _point(SETTING))


def test_without_fine_tuning_on_the_same_clean_data_nothing_is_claimed(study: Study) -> None:
    sentence = added_by_distillation(study.complete, _point(SETTING | {"clean_fraction": 0.01}))
    assert sentence == "No fine-tuning control ran on 1% clean data, so the study cannot say what distillation added."


def test_a_recommended_setting_without_distillation_says_so(study: Study) -> None:
    assert "it is fine-tuning alone" in added_by_distillation(study.complete, _point({"clean_fraction": 0.1}))


def test_when_no_setting_keeps_enough_accuracy_the_answer_says_so(make_study: Make) -> None:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        summary.update(recommended=None, recommended_why="None is good enough.")
        for row in rows:
            row["acc"] = 0.5 if row["acc"] != "" else ""

    found = answer(read_study(make_study(change=change)))
    assert found.headline.startswith("No setting keeps clean accuracy within 3 points of the victim’s 78.2%.")
    assert found.recommended is None
    assert found.reasons == ("None is good enough.",)


def test_scores_are_called_optimistic(study: Study) -> None:
    assert "validation split (800 images), which the search optimised, in one run each" in caveats(study)[0]


@pytest.mark.parametrize(
    ("wanted", "running", "sentence"),
    [
        (22, 0, None),
        (20, 0, None),
        (40, 0, "22 of 40 wanted trials are complete."),
        (22, 1, "21 of 22 wanted trials are complete, 1 running"),
        (20, 1, "21 of 20 wanted trials are complete, 1 running"),
    ],
)
def test_an_unfinished_study_says_how_far_it_is(
    make_study: Make, wanted: int, running: int, sentence: str | None
) -> None:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        summary["wanted_trials"] = wanted
        for row in rows[5 : 5 + running]:
            row.update(state="RUNNING", asr="", acc="")

    found = unfinished(read_study(make_study(change=change)))
    assert found is None if sentence is None else sentence in (found or "")


def test_a_study_that_stopped_by_itself_is_finished_once_nothing_runs(make_study: Make) -> None:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        summary.update(wanted_trials=60, stopped="It stopped.")

    study = read_study(make_study(change=change))
    assert unfinished(study) is None
    running = study.trials.assign(state=["RUNNING", *study.trials["state"][1:]])
    assert unfinished(replace(study, trials=running)) is not None


def test_pruned_trials_count_as_wanted(make_study: Make, prune: Any) -> None:
    assert unfinished(read_study(make_study(change=prune))) is None, "22 were wanted: 20 complete, 2 pruned"

    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        prune(rows, summary)
        summary["wanted_trials"] = 23

    assert "20 of 23 wanted trials are complete, 2 pruned." in (unfinished(read_study(make_study(change=change))) or "")


def _confirmed(study: Study, twin: Twin | None) -> str:
    """The answer's reasons where the recommended point has these test scores."""
    assert study.recommended is not None
    test = FreshScores(asr=0.301, acc=0.745, asr_ci=(0.2, 0.4), acc_ci=(0.73, 0.76), seeds=3, diverged=0)
    return " ".join(answer(replace(study, recommended=study.recommended._replace(test=test, twin=twin))).reasons)


def test_test_scores_are_said_with_their_intervals(study: Study) -> None:
    text = _confirmed(study, None)
    assert "it has 30.1% ASR (95% interval 20.0% to 40.0%) and 74.5% ACC (73.0% to 76.0%), over 3 fresh seeds." in text
    assert "β = 0, same images" not in text
    assert "Fine-tuning without distillation on" in text


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ((-0.7, -0.3), "Distillation lowers ASR here."),
        ((-0.7, 0.1), "these seeds do not show that distillation lowers ASR"),
        ((0.1, 0.3), "Distillation raises ASR here."),
        (None, "So few pairs of runs cannot tell this from chance."),
    ],
)
def test_the_twin_says_what_distillation_added_and_whether_that_is_chance(
    study: Study, bounds: tuple[float, float] | None, verdict: str
) -> None:
    twin = Twin(
        asr=0.801, acc=0.75, pairs=3, asr_added=-0.5, acc_added=-0.005, asr_added_ci=bounds, acc_added_ci=bounds
    )
    text = _confirmed(study, twin)
    assert "end at 80.1% ASR and 75.0% ACC: distillation moved ASR by −50.0 points" in text
    assert verdict in text
    assert "Fine-tuning without distillation on" not in text, "the twin is the better witness"


def test_caveats_point_to_the_test_scores_where_there_are_some(study: Study) -> None:
    assert "expect the recommended setting to be worse" in caveats(study)[0]
    assert study.recommended is not None
    test = FreshScores(asr=0.3, acc=0.7, asr_ci=(0.2, 0.4), acc_ci=(0.6, 0.8), seeds=2, diverged=1)
    confirmed = replace(study, recommended=study.recommended._replace(test=test))
    assert "the test scores of the recommended setting are what to expect" in caveats(confirmed)[0]
    assert "1 of 3 runs diverged" in " ".join(answer(confirmed).reasons)


def test_a_loss_on_the_test_images_that_is_not_allowed_is_said(study: Study) -> None:
    assert study.recommended is not None
    test = FreshScores(asr=0.3, acc=0.72, asr_ci=(0.2, 0.4), acc_ci=(0.6, 0.8), seeds=3, diverged=0)
    before = test._replace(asr=0.95, acc=0.78)
    chosen, victim = study.recommended._replace(test=test), study.victim._replace(test=before)
    text = " ".join(answer(replace(study, recommended=chosen, victim=victim)).reasons)
    assert "loses 6.0 points of accuracy, more than the 3 that are allowed" in text
    kept = replace(study, recommended=chosen._replace(test=test._replace(acc=0.75)), victim=victim)
    assert "are allowed" not in " ".join(answer(kept).reasons)


def test_confirmed_controls_without_a_recommended_setting_do_not_contradict_the_caveats(study: Study) -> None:
    test = FreshScores(asr=0.3, acc=0.7, asr_ci=(0.2, 0.4), acc_ci=(0.6, 0.8), seeds=3, diverged=0)
    controls = tuple(control._replace(test=test) for control in study.controls)
    sentence = caveats(replace(study, recommended=None, controls=controls))[0]
    assert sentence.startswith("Scores that are not called test scores were")
    assert "recommended setting" not in sentence


@pytest.mark.parametrize(
    ("bounds", "change"),
    [((-0.021, -0.003), "−1.2 points (95% interval −2.1 to −0.3)."), (None, "−1.2 points.")],
)
def test_the_price_without_a_backdoor_is_said(study: Study, bounds: tuple[float, float] | None, change: str) -> None:
    assert study.recommended is not None
    clean = CleanModel(asr=0.346, before=0.841, after=0.829, seeds=3, acc_change=-0.012, acc_change_ci=bounds)
    text = " ".join(answer(replace(study, recommended=study.recommended._replace(clean_model=clean))).reasons)
    assert "takes test ACC from 84.1% to 82.9%, over 3 fresh seeds: a change of " + change in text
    assert "makes that model take 34.6% of the triggered test images for the target class" in text
    assert "no backdoor to lose" not in " ".join(answer(study).reasons)


def test_labels_that_go_all_to_all_have_no_target_class(study: Study) -> None:
    assert study.recommended is not None
    clean = CleanModel(asr=0.1, before=0.84, after=0.83, seeds=3, acc_change=-0.01, acc_change_ci=None)
    summary = {**study.summary, "attack_settings": {"label_mode": "all-to-all"}}
    found = answer(replace(study, summary=summary, recommended=study.recommended._replace(clean_model=clean)))
    assert "of the triggered test images for the class after their own: where" in " ".join(found.reasons)


def _with_baselines(rows: Any, summary: Any) -> None:
    """At the recommended setting's clean data: one that it beats, one that beats it, one of each, and a lost one."""
    chosen = summary["recommended"]
    share, scores = chosen["params"]["clean_fraction"], chosen["validation"]
    for name, asr, acc in (("fine-pruning", 0.2, -0.01), ("mode-connectivity", -0.003, 0.01), ("anp", 0.1, 0.02)):
        validation = {"asr": scores["asr"] + asr, "acc": scores["acc"] + acc}
        point = {"number": None, "params": {"clean_fraction": share}, "validation": validation}
        summary["controls"].append({"name": name, **point, "test": None, "twin": None})
    elsewhere = {"asr": 0.0, "acc": 1.0}
    point = {"number": None, "params": {"clean_fraction": 0.33}, "validation": elsewhere, "test": None, "twin": None}
    summary["controls"].append({"name": "anp", **point})
    summary["lost_baselines"] = [{"name": "anp", "clean_fraction": 0.01, "error": "its loss was nan"}]


def test_the_answer_says_how_it_stands_to_each_control_on_the_same_clean_data(make_study: Make) -> None:
    study = read_study(make_study(change=_with_baselines))
    told = next(reason for reason in answer(study).reasons if reason.startswith("Against each control"))
    clauses = {name: next(part for part in told.split("; ") if name in part) for name in ("fine-pruning", "ANP")}
    assert "better in both than fine-pruning" in clauses["fine-pruning"]
    assert "worse in both than mode connectivity" in told
    assert "lower ASR, larger loss of ACC than ANP" in clauses["ANP"]
    assert told.count("ANP (") == 1, "the ANP with other clean data is no fair comparison"
    assert "ANP on 1% of clean data has no scores: its loss was nan." in answer(study).reasons


def test_duels_are_told_in_test_scores_where_both_were_confirmed(make_study: Make) -> None:
    study = read_study(make_study(change=_with_baselines))
    assert study.recommended is not None
    ours = study.recommended._replace(test=_fresh(0.5, 0.6))
    rivals = tuple(one._replace(test=_fresh(0.1, 0.7)) if one.name == "fine-pruning" else one for one in study.controls)
    told = next(
        reason
        for reason in answer(replace(study, recommended=ours, controls=rivals)).reasons
        if reason.startswith("Against each control")
    )
    assert "worse in both than fine-pruning (test ASR 10.0%, ACC 70.0%; +40.0 points and −10.0 points" in told
    assert "ANP (validation ASR" in told


def _fresh(asr: float, acc: float) -> FreshScores:
    return FreshScores(asr, acc, (asr - 0.05, asr + 0.05), (acc - 0.05, acc + 0.05), 3, 0)


def test_a_study_without_baselines_says_nothing_of_them(study: Study) -> None:
    assert study.baselines == ()
    assert not any("Against each control" in reason for reason in answer(study).reasons)
