from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports.answer import added_by_distillation, answer
from reports.caveats import caveats, unfinished
from reports.formatting import percent
from reports.study_folder import CleanModel, FreshRun, FreshScores, Point, Scores, Study, Twin, read_study
from reports.summary_text import summary_text

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
    assert "on 10% clean data (setting 0) ends at 74.1% ASR and 76.0% ACC" in sentence
    assert "ASR moved by −50.0 points, ACC by −1.0 points." in sentence
    assert "also differ" not in sentence


def test_what_else_differs_from_fine_tuning_is_said(study: Study) -> None:
    sentence = added_by_distillation(study.complete, _point(SETTING | {"epochs": 20, "recipe": "paper", "power": 2.0}))
    assert sentence.endswith("The two runs also differ in epochs, recipe.")


def test_several_runs_of_fine_tuning_are_compared_by_their_best(make_study: Make) -> None:
    study = read_study(make_study(change=lambda rows, _: rows[3].update(params_clean_fraction=0.1)))
    assert "(the best of 2 settings, setting 3)" in added_by_distillation(study.complete, _point(SETTING))


def test_without_fine_tuning_on_the_same_clean_data_nothing_is_claimed(study: Study) -> None:
    sentence = added_by_distillation(study.complete, _point(SETTING | {"clean_fraction": 0.01}))
    assert sentence == "No fine-tuning control ran on 1% clean data, so the effect of distillation is unknown."


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
    assert "validation split (800 images), the search's objective, in one run each" in caveats(study)[0]


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


@pytest.mark.parametrize(("done", "sentence"), [(20, None), (12, "12 of 20 runs of its confirmation are done.")])
def test_a_confirmation_that_is_not_complete_is_said(make_study: Make, done: int, sentence: str | None) -> None:
    fresh = {"draws": 2, "runs": 20, "done": done}
    found = unfinished(read_study(make_study(change=lambda _, summary: summary.update(confirmation=fresh))))
    assert found is None if sentence is None else sentence in (found or "")


def test_baselines_that_are_not_complete_are_said(make_study: Make) -> None:
    runs = {"runs": 4, "done": 3}
    found = unfinished(read_study(make_study(change=lambda _, summary: summary.update(baselines=runs))))
    assert "3 of 4 runs of its baselines are done." in (found or "")


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
    said = "it has 30.1% ASR (95% interval 20.0% to 40.0%) and 74.5% ACC (95% interval 73.0% to 76.0%), over 3 fresh"
    assert said in text
    assert "β = 0, same images" not in text
    assert "Fine-tuning without distillation on" in text


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ((-0.7, -0.3), "Distillation lowers ASR here."),
        ((-0.7, 0.1), "these seeds do not show that distillation lowers ASR"),
        ((0.1, 0.3), "Distillation raises ASR here."),
        (None, "All pairs differ by the same in ASR"),
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
    assert "over 3 pairs of finished runs. " in text
    assert verdict in text
    single = _confirmed(study, twin._replace(pairs=1, asr_added_ci=None, acc_added_ci=None))
    assert "over 1 pair of finished runs. One pair of runs cannot tell this from chance." in single
    assert "Fine-tuning without distillation on" not in text, "the twin is the better witness"


def test_caveats_point_to_the_test_scores_where_there_are_some(study: Study) -> None:
    assert "expect the recommended setting to be worse" in caveats(study)[0]
    assert study.recommended is not None
    test = FreshScores(asr=0.3, acc=0.7, asr_ci=(0.2, 0.4), acc_ci=(0.6, 0.8), seeds=2, diverged=1)
    confirmed = replace(study, recommended=study.recommended._replace(test=test))
    assert "expect the test scores of the recommended setting" in caveats(confirmed)[0]
    assert "1 of 3 runs diverged" in " ".join(answer(confirmed).reasons)


def test_a_loss_on_the_test_images_that_is_not_allowed_is_said(study: Study) -> None:
    assert study.recommended is not None
    test = FreshScores(asr=0.3, acc=0.72, asr_ci=(0.2, 0.4), acc_ci=(0.6, 0.8), seeds=3, diverged=0)
    before = test._replace(asr=0.95, acc=0.78)
    chosen, victim = study.recommended._replace(test=test), study.victim._replace(test=before)
    found = answer(replace(study, recommended=chosen, victim=victim))
    assert found.headline.endswith("from 78.0% to 72.0%, 6.0 points lost, 3 allowed.")
    assert found.price == "−6.0 points; only a loss of 3 is allowed"
    kept = answer(replace(study, recommended=chosen._replace(test=test._replace(acc=0.75)), victim=victim))
    assert kept.headline.endswith("from 78.0% to 75.0%.")
    assert kept.price == "−3.0 points; a loss of 3 is allowed"


def test_confirmed_controls_without_a_recommended_setting_do_not_contradict_the_caveats(study: Study) -> None:
    test = FreshScores(asr=0.3, acc=0.7, asr_ci=(0.2, 0.4), acc_ci=(0.6, 0.8), seeds=3, diverged=0)
    controls = tuple(control._replace(test=test) for control in study.controls)
    sentence = caveats(replace(study, recommended=None, controls=controls))[0]
    assert sentence.startswith("Scores without the word test were")
    assert "recommended setting" not in sentence


@pytest.mark.parametrize(
    ("bounds", "change"),
    [((-0.021, -0.003), "−1.2 points (95% interval −2.1 to −0.3)."), (None, "−1.2 points.")],
)
def test_the_price_without_a_backdoor_is_said(study: Study, bounds: tuple[float, float] | None, change: str) -> None:
    assert study.recommended is not None
    clean = CleanModel(
        asr=0.346,
        erased_asr=(0.029, 0.329),
        before=0.841,
        after=0.829,
        seeds=3,
        acc_change=-0.012,
        acc_change_ci=bounds,
    )
    text = " ".join(answer(replace(study, recommended=study.recommended._replace(clean_model=clean))).reasons)
    assert "takes test ACC from 84.1% to 82.9%, over 3 fresh seeds: a change of " + change in text
    assert "take 34.6% of the triggered test images for the target class, and 2.9%, 32.9% after the erase" in text
    assert "no backdoor to lose" not in " ".join(answer(study).reasons)


def test_labels_that_go_all_to_all_have_no_target_class(study: Study) -> None:
    assert study.recommended is not None
    clean = CleanModel(asr=0.1, erased_asr=(), before=0.84, after=0.83, seeds=3, acc_change=-0.01, acc_change_ci=None)
    summary = study.summary.model_copy(update={"attack_settings": {"label_mode": "all-to-all"}})
    found = answer(replace(study, summary=summary, recommended=study.recommended._replace(clean_model=clean)))
    assert "of the triggered test images for the class after their own: expect" in " ".join(found.reasons)


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


def _beside(study: Study) -> dict[str, str]:
    """What the answer says of each control with as much clean data, by its name."""
    return {line.split(":")[0].split(",")[0]: line for line in answer(study).beside}


def test_one_run_each_is_no_verdict(make_study: Make) -> None:
    study = read_study(make_study(change=_with_baselines))
    beside = _beside(study)
    assert beside["fine-pruning"] == "fine-pruning, in the search: ASR −20.0, ACC +1.0"
    assert beside["ANP"] == "ANP, in the search: ASR −10.0, ACC −2.0"
    assert "ANP on 1% of clean data has no scores: its loss was nan." in answer(study).reasons


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (
            [(0.40, 0.50), (0.51, 0.49), (0.58, 0.53)],
            "ASR −19.7 (−23.5 to −15.9), ACC +9.3 (+4.2 to +14.5), better in both",
        ),
        ([(0.00, 0.70), (0.11, 0.69), (0.18, 0.73)], "worse in both"),
        ([(0.90, 0.50), (0.10, 0.49), (0.20, 0.53)], "a higher ACC"),
        ([(0.90, 0.60), (0.10, 0.50), (0.20, 0.70)], "not told apart"),
        ([(0.90, 0.60)], "ASR −70.0, ACC ±0.0, one pair of runs"),
    ],
)
def test_controls_are_compared_draw_by_draw(make_study: Make, theirs: list[tuple[float, float]], said: str) -> None:
    """Unlike means of each: what the draws have in common cancels out, and what is within chance is no verdict."""
    study = read_study(make_study(change=_with_baselines))
    assert study.recommended is not None
    ours = study.recommended._replace(test=_fresh([(0.20, 0.60), (0.30, 0.60), (0.40, 0.60)]))
    rival = _fresh(theirs)
    rivals = tuple(one._replace(test=rival) if one.name == "fine-pruning" else one for one in study.controls)
    beside = _beside(replace(study, recommended=ours, controls=rivals))
    assert beside["fine-pruning"].endswith(said)
    assert beside["ANP"].startswith("ANP, in the search")


def unbalance(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    """A change: one answer for every image has 93.8% accuracy; the balanced accuracy of all is half their accuracy."""
    for row in rows:
        row["balanced_acc"] = "" if row["acc"] == "" else row["acc"] / 2
    points = [*summary["controls"], *([summary["recommended"]] if summary["recommended"] else [])]
    for scores in (summary["victim"], *(point["validation"] for point in points)):
        scores["balanced_acc"] = scores["acc"] / 2
    summary["guess"] = {"acc": 0.9375, "balanced_acc": 0.325}


def test_balanced_accuracy_is_told_where_classes_are_unbalanced(make_study: Callable[..., Path]) -> None:
    study, even = read_study(make_study(change=unbalance)), read_study(make_study(name="even"))
    after, before = answer(study).recommended, study.victim.scores
    assert after is not None
    assert f"goes from {percent(before.acc / 2)} to {percent(after.acc / 2)}" in answer(study).headline
    assert any("one answer for every validation image has 93.8% accuracy" in line for line in caveats(study))
    assert "balanced ACC" in summary_text(study)
    assert "alanced" not in answer(even).headline + " ".join(caveats(even)) + summary_text(even)


def test_a_model_of_one_answer_keeps_too_little_whatever_its_accuracy(make_study: Callable[..., Path]) -> None:
    def collapse(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        unbalance(rows, summary)
        summary["max_acc_drop"], summary["recommended"] = 1.0, None
        summary["controls"][1]["validation"]["balanced_acc"] = 0.25
        for row in rows:
            row["balanced_acc"] = "" if row["acc"] == "" else 0.25

    study = read_study(make_study(change=collapse))
    assert not answer(study).rivals[1].kept
    assert study.kept == frozenset()
    assert answer(study).headline.startswith("No setting keeps clean accuracy and balanced accuracy within")


def test_studies_before_balanced_accuracy_go_by_accuracy(make_study: Callable[..., Path]) -> None:
    study = read_study(make_study())
    kept = study.complete["acc"] >= study.least_acc - 1e-9
    assert study.kept == frozenset(study.complete["number"][kept])
    assert study.complete["balanced_acc"].isna().all()


def _fresh(pairs: list[tuple[float, float]]) -> FreshScores:
    runs = tuple(FreshRun(draw, asr, acc) for draw, (asr, acc) in enumerate(pairs, start=1))
    asr, acc = (sum(values) / len(values) for values in zip(*pairs, strict=True))
    return FreshScores(asr, acc, (0.0, 1.0), (0.0, 1.0), len(runs), 0, runs)


def test_few_runs_are_shown_one_by_one(study: Study) -> None:
    assert study.recommended is not None
    several = study.recommended._replace(test=_fresh([(0.02, 0.75), (0.325, 0.74)]))
    assert "One by one: 2.0% / 75.0%, 32.5% / 74.0%." in " ".join(answer(replace(study, recommended=several)).reasons)
    single = _fresh([(0.02, 0.75)])._replace(asr_ci=None, acc_ci=None)
    text = " ".join(answer(replace(study, recommended=study.recommended._replace(test=single))).reasons)
    assert "it has 2.0% ASR and 75.0% ACC, with one fresh seed." in text


def test_a_study_without_baselines_is_compared_with_its_own_controls(study: Study) -> None:
    assert study.baselines == ()
    assert study.recommended is not None
    share = study.recommended.params["clean_fraction"]
    assert len(_beside(study)) == sum(one.params.get("clean_fraction") == share for one in study.controls) > 0
