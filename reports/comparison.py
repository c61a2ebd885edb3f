"""Several studies beside each other, as text: differences, settings, hypervolumes, controls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reports.analysis.frontier import hypervolume
from reports.analysis.intervals import ALIKE, Interval, of_mean
from reports.analysis.objectives import costs
from reports.answer import Answer, Rival, answer
from reports.caveats import what_is_left
from reports.figures.hypervolume import hypervolume_info
from reports.files import ReportError
from reports.formatting import NONE, distilled, duration, label, percent, setting
from reports.study_folder import Study, read_study
from reports.trial_table import trial_costs

SHOWN = 12
"""Characters of a hash or revision, enough to tell two apart."""


class FreshVolume(NamedTuple):
    """Hypervolume of a study's confirmed points on the test images: the mean over the fresh draws.

    bounds: Student's 95% interval over these draws; None for fewer than two, or equal ones.
    points: number of points; only those finished in every draw, so all draws have the same.
    """

    mean: float
    bounds: Interval | None
    draws: int
    points: int


class Volume(NamedTuple):
    """settings: how many are reliable.  search: their hypervolume; even: of the first ones, as many as the fewest."""

    settings: int
    search: float
    even: float
    fresh: FreshVolume | None


class Row(NamedTuple):
    """One line of a table with a column for each study.  differs: not the same in all studies."""

    head: str
    cells: tuple[str, ...]
    differs: bool


class ControlRow(NamedTuple):
    """A control on one share of clean data, and its scores in each study."""

    head: str
    cells: tuple[Rival | None, ...]


def read_studies(directories: Sequence[Path], *, also_unfinished: bool = False) -> tuple[Study, ...]:
    """The studies in these folders, in this order.

    Raises: ReportError for a folder without a study's trials, for two studies of one name, and for an unfinished study
    unless allowed.
    """
    studies = tuple(read_study(directory) for directory in directories)
    first: dict[str, Path] = {}
    for study, directory in zip(studies, directories, strict=True):
        if study.name in first:
            raise ReportError(
                f"two of these studies are called {study.name!r} ({str(first[study.name])!r} and {str(directory)!r}),"
                " and a reader could not tell them apart; leave one out, or run it again under another --name"
            )
        first[study.name] = directory
        left = None if also_unfinished else what_is_left(study)
        if left:
            raise ReportError(
                f"{str(directory)!r} is not finished ({left}); run its command again, or add --unfinished to compare it"
                " as it stands"
            )
    return studies


def families(studies: Iterable[Study]) -> dict[tuple[str, str], list[int]]:
    """Indices of the studies of each attack and data set, in their order."""
    found: dict[tuple[str, str], list[int]] = {}
    for index, study in enumerate(studies):
        found.setdefault((study.summary.attack, study.summary.dataset), []).append(index)
    return found


def volumes(studies: Sequence[Study]) -> tuple[Volume, ...]:
    """The hypervolume of each study, of its search and on fresh draws."""
    fewest = min(len(study.reliable) for study in studies)
    return tuple(
        Volume(
            settings=len(study.reliable),
            search=hypervolume(trial_costs(study.reliable)),
            even=float(hypervolume_info(study).values[fewest - 1]) if fewest else 0.0,
            fresh=fresh_volume(study),
        )
        for study in studies
    )


def fresh_volume(study: Study) -> FreshVolume | None:
    """See FreshVolume; None for a study without confirmation or without single runs in its summary."""
    runs = [{run.draw: run for run in point.test.runs} for point in study.confirmed.values() if point.test]
    draws = sorted({draw for by_draw in runs for draw in by_draw})
    whole = [by_draw for by_draw in runs if len(by_draw) == len(draws)]
    if not draws or not whole:
        return None
    values = [
        hypervolume(costs(np.array([[by_draw[draw].asr, by_draw[draw].acc] for by_draw in whole]))) for draw in draws
    ]
    over_draws = of_mean(values) if np.ptp(values) >= ALIKE else None
    bounds = None if over_draws is None else (max(over_draws[0], 0.0), min(over_draws[1], 1.0))
    return FreshVolume(float(np.mean(values)), bounds, len(draws), len(whole))


def headline(studies: Sequence[Study]) -> str:
    """The headline: verdicts of the recommended settings' twins, counted."""
    counts = Counter(_verdict(study) for study in studies)
    found = [f"{verdict} in {counts[verdict]}" for verdict in _VERDICTS if counts[verdict]]
    return (
        "Does distillation lower the attack success rate beyond fine-tuning?"
        f" Of {len(studies)} studies: {'; '.join(found)}."
    )


_LOWERS, _RAISES, _UNCLEAR = "shown by the twins", "the opposite shown by the twins", "not shown by the twins"
_PLAIN, _NO_TWIN, _NO_PICK = (
    "fine-tuning itself was recommended",
    "no twins were run",
    "no setting kept enough accuracy",
)
_VERDICTS = (_LOWERS, _RAISES, _UNCLEAR, _PLAIN, _NO_TWIN, _NO_PICK)


def _verdict(study: Study) -> str:
    if study.recommended is None:
        return _NO_PICK
    if not distilled(study.recommended.params):
        return _PLAIN
    twin = study.recommended.twin
    if twin is None:
        return _NO_TWIN
    if twin.asr_added_ci is None:
        return _UNCLEAR
    low, high = twin.asr_added_ci
    return _LOWERS if high < 0 else _RAISES if low > 0 else _UNCLEAR


def caveats(studies: Sequence[Study]) -> Iterator[str]:
    """Limits of comparing these studies."""
    yield (
        "Each study is one search: nothing here says how far another search of the same study would come, so its"
        " hypervolume has no interval. The searches optimised the validation scores."
    )
    if any(study.confirmed for study in studies):
        yield (
            "Intervals of test scores and of test hypervolumes cover fresh seeds and fresh draws of clean images, for"
            " one victim of one attack; not another victim, nor another search."
        )
    if any(point.test and not point.test.runs for study in studies for point in study.confirmed.values()):
        yield (
            "A study whose summary lacks the scores of its single fresh runs has no test hypervolume here; run its"
            " command again to write its summary anew."
        )
    if len({study.summary.victim_sha256 for study in studies}) > 1:
        yield (
            "The studies erase different victims: accuracy within reach, and with it the hypervolume, differs before"
            " any defence. A larger one is not a better defence."
        )
    if len({study.summary.max_acc_drop for study in studies}) > 1:
        yield "They allow different losses of accuracy, so their recommended settings were picked by different rules."


def settings_rows(answers: Sequence[Answer]) -> tuple[Row, ...]:
    """The recommended settings' hyperparameters, one row for each."""
    return _rows([found.params for found in answers])


def facts_rows(studies: Sequence[Study]) -> tuple[Row, ...]:
    """Facts about the studies; differences come first."""
    rows = _rows([_facts(study) for study in studies])
    return tuple(sorted(rows, key=lambda row: not row.differs))


def control_rows(studies: Sequence[Study]) -> tuple[ControlRow, ...]:
    """The victim and the controls; one run twice on the same share of clean data has two rows."""
    found: list[dict[tuple[str, str, int], Rival]] = []
    for study in studies:
        rivals: dict[tuple[str, str, int], Rival] = {}
        seen: Counter[tuple[str, str]] = Counter()
        for rival in answer(study).rivals:
            if not rival.recommended:
                where = (rival.label, rival.clean_fraction)
                rivals[(*where, seen[where])] = rival
                seen[where] += 1
        found.append(rivals)
    keys = dict.fromkeys(key for rivals in found for key in rivals)
    order = list(dict.fromkeys(name for name, _fraction, _run in keys))
    return tuple(
        ControlRow(name if fraction == NONE else f"{name}, {fraction}", tuple(rivals.get(key) for rivals in found))
        for key in sorted(keys, key=lambda key: order.index(key[0]))
        for name, fraction, _run in [key]
    )


def _rows(columns: Sequence[dict[str, str]]) -> tuple[Row, ...]:
    """One row for each name in any column."""
    names = dict.fromkeys(name for column in columns for name in column)
    cells = {name: tuple(column.get(name, NONE) for column in columns) for name in names}
    return tuple(Row(name, texts, len(set(texts)) > 1) for name, texts in cells.items())


def _facts(study: Study) -> dict[str, str]:
    summary, victim = study.summary, study.victim.scores
    attack = {f"attack: {label(k)}": _short(k, v) for k, v in summary.attack_settings.items() if k != "name"}
    return {
        "attack": summary.attack,
        "data set": summary.dataset,
        "model": summary.model,
        "victim’s ASR": percent(victim.asr),
        "victim’s ACC": percent(victim.acc),
        "victim, SHA-256": summary.victim_sha256[:SHOWN],
        **attack,
        **{f"images: {label(name)}": setting("count", count) for name, count in summary.counts.items()},
        "search space": summary.space or NONE,
        "seed": str(summary.seed),
        "accuracy loss allowed": f"{100 * summary.max_acc_drop:g} points",
        "complete trials": f"{len(study.complete)} of {summary.wanted_trials} wanted",
        "pruned trials": str(study.count("PRUNED")),
        "failed trials": str(study.count("FAIL")),
        "time": duration(summary.seconds.get("total")),
        "host": summary.host,
        "revision": (summary.git or "not known")[:SHOWN],
        **{f"version: {name}": str(version) for name, version in summary.versions.items()},
    }


def _short(name: str, value: Any) -> str:
    """A setting of the attack; an object by its entries, with hashes cut."""
    if not isinstance(value, dict):
        return setting(name, value)
    return ", ".join(f"{label(key)} {str(entry)[:SHOWN] if 'sha' in key else entry}" for key, entry in value.items())
