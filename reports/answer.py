"""A study's answer in sentences: the setting to use, its gain and cost, and its limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from reports.analysis.best import probability_of_lowest
from reports.analysis.estimates import RELIABLE
from reports.analysis.frontier import ROUNDING, Mask
from reports.analysis.intervals import Interval
from reports.analysis.pairing import Added, compare
from reports.formatting import (
    LAYER_PREFIXES,
    control_label,
    distilled,
    interval,
    label,
    percent,
    points,
    readable_params,
    seeds,
    setting,
    signed,
    wanted_class,
)
from reports.study_folder import FreshScores, Point, Scores, Study, Twin, trial_scores

FINE_TUNING = "fine-tuning"
FEW_RUNS = 4
"""So many are shown one by one."""


class Rival(NamedTuple):
    """The victim, a control, or the recommended setting.  kept: inside the accuracy bound."""

    label: str
    number: int | None
    clean_fraction: str
    scores: Scores
    test: FreshScores | None
    acc_change: float
    kept: bool
    recommended: bool


class Answer(NamedTuple):
    """before, recommended: the victim's and the erased model's scores, on the test images if both were confirmed.

    recommended and params: the setting to use; None and empty if no trial is inside the accuracy bound.
    distillation: the reason about distillation; empty without a setting.  beside: differences to each control on as
    much clean data, a line each.  price: the change of accuracy beside the allowed one.
    """

    headline: str
    reasons: tuple[str, ...]
    distillation: str
    beside: tuple[str, ...]
    price: str
    before: Scores
    recommended: Scores | None
    params: dict[str, str]
    rivals: tuple[Rival, ...]


def answer(study: Study) -> Answer:
    """The answer from the study's summary and trials."""
    why, point, rivals = study.summary.recommended_why, study.recommended, _rivals(study)
    if point is None:
        reasons = (why, *_lost_baselines(study))
        return Answer(_headline_without_pick(study), reasons, "", (), "", study.victim.scores, None, {}, rivals)
    # A twin is the better witness: fine-tuning controls differ from the point in more than distillation.
    distillation = _beside_twin(point.twin) if point.twin else added_by_distillation(study.settings, point)
    reasons = (
        why,
        *([_confirmation(point.test)] if point.test else []),
        distillation,
        *_clean_model(point, study.summary.attack_settings),
        *_lost_baselines(study),
    )
    beside = tuple(_beside(point, rival) for rival in _on_as_much(study, point))
    before, after, tested = study.victim.scores, point.scores, False
    if study.victim.test and point.test:
        before, after = (Scores(test.asr, test.acc, test.balanced_acc) for test in (study.victim.test, point.test))
        tested = True
    lost, allowed = before.acc - after.acc, study.summary.max_acc_drop
    broken = lost > allowed + ROUNDING
    ends = point.test.asr_ci if tested and point.test else _searched_interval(study, point)
    headline = (
        f"Setting {point.number} brings the attack success rate from {percent(before.asr)} to {percent(after.asr)}"
        f"{f' (95% interval {interval(ends)})' if ends else ''}{' on the test images' if tested else ''}; clean"
        f" accuracy goes from {percent(before.acc)} to {percent(after.acc)}"
    )
    headline += f", {100 * lost:.1f} points lost, {100 * allowed:g} allowed." if broken else "."
    headline += _balanced(study, before, after) + how_sure(study, point.number)
    price = f"{points(-lost)}; {'only ' if broken else ''}a loss of {100 * allowed:g} is allowed"
    return Answer(headline, reasons, distillation, beside, price, before, after, readable_params(point.params), rivals)


def _searched_interval(study: Study, point: Point) -> Interval | None:
    """The interval of the estimated ASR; None for a study of one run each."""
    row = study.settings[study.settings["number"] == point.number]
    return (float(row["asr_low"].iloc[0]), float(row["asr_high"].iloc[0])) if study.estimated and len(row) else None


def how_sure(study: Study, number: int | None) -> str:
    """A sentence: the setting's draws, and the probability that it is the best of those tried."""
    rivals = study.reliable[study.reliable["number"].isin(study.kept)].reset_index(drop=True)
    (places,) = np.nonzero((rivals["number"] == number).to_numpy())
    if not study.estimated or len(places) == 0:
        return ""
    place, draws = int(places[0]), int(rivals["draws"].iloc[places[0]])
    on = "one draw" if draws == 1 else f"{draws} draws"
    sure = (rivals["reliability"] >= RELIABLE).all()
    doubt = "" if sure else " No setting is reliable yet: these are the ones with the most draws."
    kind = "reliable setting" if sure else "candidate"
    if len(rivals) == 1:
        return f" The search ran it on {on}; it is the only {kind} inside the accuracy bound.{doubt}"
    mean, error = (rivals[name].to_numpy(dtype=float) for name in ("asr", "asr_error"))
    probability = percent(probability_of_lowest(mean, error, place), 0)
    return (
        f" The search ran it on {on}. Of the {len(rivals)} {kind}s inside the accuracy bound, it has the lowest ASR"
        f" with a probability of {probability}.{doubt}"
    )


def _balanced(study: Study, before: Scores, after: Scores) -> str:
    """A sentence on unbalanced classes; empty for balanced ones."""
    if not study.unbalanced or before.balanced_acc is None or after.balanced_acc is None:
        return ""
    lost, allowed = before.balanced_acc - after.balanced_acc, study.bound.max_drop
    over = f", {100 * lost:.1f} points lost, {100 * allowed:g} allowed" if lost > allowed + ROUNDING else ""
    return (
        f" Balanced accuracy, the mean over the classes, goes from {percent(before.balanced_acc)} to"
        f" {percent(after.balanced_acc)}{over}."
    )


def _keeps(study: Study, scores: Scores) -> bool:
    balanced_acc = np.nan if scores.balanced_acc is None else scores.balanced_acc
    return bool(study.bound.kept(np.array([scores.acc]), np.array([balanced_acc]))[0])


def added_by_distillation(complete: pd.DataFrame, point: Point) -> str:
    """One sentence: the point against the best fine-tuning control (β = 0) on the same share of clean data."""
    if not distilled(point.params):
        return "It distils no layer: it is fine-tuning alone, so distillation added nothing here."
    fraction = point.params.get("clean_fraction")
    share = "the same clean data" if fraction is None else f"{setting('clean_fraction', fraction)} clean data"
    tuned = complete[_fine_tuning_at(complete, fraction)].sort_values(["asr", "acc"], ascending=[True, False])
    if len(tuned) == 0:
        return f"No fine-tuning control ran on {share}, so the effect of distillation is unknown."
    best = tuned.to_dict("records")[0]
    run = f"{f'the best of {len(tuned)} settings, ' if len(tuned) > 1 else ''}setting {best['number']}"
    asr, acc = point.scores.asr - best["asr"], point.scores.acc - best["acc"]
    return (
        f"Fine-tuning without distillation on {share} ({run}) ends at {percent(best['asr'])} ASR and"
        f" {percent(best['acc'])} ACC; with distillation ASR moved by {points(asr)}, ACC by {points(acc)}."
        + _other_differences(point.params, best["params"])
    )


def _confirmation(test: FreshScores) -> str:
    """A sentence on the point's test scores."""
    lost = (
        f" {test.diverged} of {test.seeds + test.diverged} runs diverged and have no scores." if test.diverged else ""
    )
    asr, acc = (f" (95% interval {interval(bounds)})" if bounds else "" for bounds in (test.asr_ci, test.acc_ci))
    return (
        f"On the test images, not used for tuning, it has {percent(test.asr)} ASR{asr} and {percent(test.acc)}"
        f" ACC{acc}, {seeds(test.seeds)}.{_single_runs(test)}{lost}"
    )


def _single_runs(test: FreshScores) -> str:
    """Each run by itself, if there are few: the interval of two runs is always wide."""
    if not 2 <= len(test.runs) <= FEW_RUNS:
        return ""
    runs = ", ".join(f"{percent(run.asr)} / {percent(run.acc)}" for run in test.runs)
    return f" One by one: {runs}."


def _beside_twin(twin: Twin) -> str:
    """A sentence on the same erases without distillation."""
    pairs = "1 pair" if twin.pairs == 1 else f"{twin.pairs} pairs"
    return (
        f"The same erases without distillation (β = 0, same images, same batches) end at {percent(twin.asr)} ASR and"
        f" {percent(twin.acc)} ACC: distillation moved ASR by {_difference(twin.asr_added, twin.asr_added_ci)} and ACC"
        f" by {_difference(twin.acc_added, twin.acc_added_ci)}, over {pairs} of finished runs. {_verdict(twin)}"
    )


def _clean_model(point: Point, attack_settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Cost of the erase to a clean model, and its remaining ASR; empty if not run."""
    clean = point.clean_model
    if clean is None:
        return ()
    left = ", ".join(percent(asr) for asr in clean.erased_asr)
    return (
        f"On a clean model of the same recipe, with no backdoor to lose, the same erase takes test ACC from"
        f" {percent(clean.before)} to {percent(clean.after)}, {seeds(clean.seeds)}: a change of"
        f" {_difference(clean.acc_change, clean.acc_change_ci)}.",
        f"The trigger alone, with no backdoor behind it, makes that model take {percent(clean.asr)} of the triggered"
        f" test images for {wanted_class(attack_settings)}"
        + (f", and {left} after the erase" if left else "")
        + ": expect about as much, not zero, after a perfect erase.",
    )


BESIDE = (
    "Its difference to each control on as much clean data, in points, with 95% intervals if both had several draws of"
    " clean images:"
)


def _on_as_much(study: Study, point: Point) -> Iterator[Point]:
    """Controls on as much clean data as the point."""
    share = point.params.get("clean_fraction")
    for one in study.controls:
        if one.params.get("clean_fraction") == share and one.number != point.number:
            yield one


def _beside(point: Point, rival: Point) -> str:
    """Differences of the point to the rival in both scores, with the verdict."""
    name = control_label(rival.name)
    found = compare(point.test.runs, rival.test.runs) if point.test and rival.test else None
    if found is None:
        asr, acc = point.scores.asr - rival.scores.asr, point.scores.acc - rival.scores.acc
        return f"{name}, in the search: ASR {signed(asr)}, ACC {signed(acc)}"
    scores = f"{name}: ASR {_added(found.asr)}, ACC {_added(found.acc)}"
    if found.pairs == 1:
        return f"{scores}, one pair of runs"
    return f"{scores}, {_VERDICTS[found.asr.direction, found.acc.direction]}"


_VERDICTS = {
    (-1, 1): "better in both",
    (-1, 0): "a lower ASR",
    (0, 1): "a higher ACC",
    (-1, -1): "a lower ASR and a lower ACC",
    (0, 0): "not told apart",
    (1, 1): "a higher ASR and a higher ACC",
    (1, 0): "a higher ASR",
    (0, -1): "a lower ACC",
    (1, -1): "worse in both",
}
"""By the directions of the differences in ASR and ACC."""


def _added(added: Added) -> str:
    return signed(added.mean) + (f" ({signed(added.bounds[0])} to {signed(added.bounds[1])})" if added.bounds else "")


def _lost_baselines(study: Study) -> tuple[str, ...]:
    """A sentence for each lost baseline."""
    return tuple(
        f"{control_label(lost.name)} on {setting('clean_fraction', lost.clean_fraction)} of clean data has no"
        f" scores: {lost.error}."
        for lost in study.summary.lost_baselines or ()
    )


def _difference(mean: float, bounds: tuple[float, float] | None) -> str:
    return points(mean) + (f" (95% interval {signed(bounds[0])} to {signed(bounds[1])})" if bounds else "")


def _verdict(twin: Twin) -> str:
    """A verdict on the interval of the difference in ASR."""
    if twin.asr_added_ci is None:
        if twin.pairs > 1:
            return "All pairs differ by the same in ASR, perhaps by chance."
        return "One pair of runs cannot tell this from chance."
    low, high = twin.asr_added_ci
    if low <= 0 <= high:
        return "The interval holds zero: these seeds do not show that distillation lowers ASR."
    return "Distillation lowers ASR here." if high < 0 else "Distillation raises ASR here."


def _other_differences(params: Mapping[str, Any], others: Mapping[str, Any]) -> str:
    """A sentence on other differences between two settings than distillation.

    Settings of only one of them belong to the distillation, such as the power of its attention maps.
    """
    names = [name for name in params if name in others and not name.startswith(LAYER_PREFIXES)]
    differing = [label(name) for name in names if params[name] != others[name]]
    return f" The two runs also differ in {', '.join(differing)}." if differing else ""


def _fine_tuning_at(complete: pd.DataFrame, fraction: Any) -> Mask:
    same = np.array([params.get("clean_fraction") == fraction for params in complete["params"]], dtype=bool)
    return same & (complete["control"] == FINE_TUNING).to_numpy(dtype=bool)


def _headline_without_pick(study: Study) -> str:
    complete = study.settings.sort_values(["acc", "asr"], ascending=[False, True])
    if len(complete) == 0:
        return "No setting is complete yet, so there is nothing to recommend."
    number, best, victim = complete["number"].iloc[0], trial_scores(complete.to_dict("records")[0]), study.victim.scores
    shown = study.unbalanced and best.balanced_acc is not None and victim.balanced_acc is not None
    of_victim, of_best = (
        f" (balanced {percent(scores.balanced_acc or 0.0)})" if shown else "" for scores in (victim, best)
    )
    return (
        f"No setting keeps clean accuracy{' and balanced accuracy' if shown else ''} within"
        f" {100 * study.bound.max_drop:g} points of the victim’s {percent(victim.acc)}{of_victim}"
        f"{' and does more than guess' if shown else ''}. The most accurate, setting {number}, has {percent(best.acc)}"
        f"{of_best} at an attack success rate of {percent(best.asr)}."
    )


def _rivals(study: Study) -> tuple[Rival, ...]:
    """The victim, the controls, and last the recommended setting."""
    named = [study.victim, *study.controls, *([study.recommended] if study.recommended else [])]
    return tuple(
        Rival(
            label=control_label(point.name),
            number=point.number,
            clean_fraction=setting("clean_fraction", point.params.get("clean_fraction")),
            scores=point.scores,
            test=point.test,
            acc_change=point.scores.acc - study.victim.scores.acc,
            kept=_keeps(study, point.scores),
            recommended=point is study.recommended,
        )
        for point in named
    )
