"""Ways to spend erases on draws, replayed on a recorded table: `python -m benchmarks.policies TABLE.csv`.

TABLE: settings by draws, one erase a row: setting, draw, asr, acc; every setting on every draw; `--record TABLE.csv`
makes one, and goes on with it after an interruption. For each seed some draws are fresh, kept from the search; the
others and the settings come in random order, the controls first. Each policy spends the same number of erases:

single runs   each setting once, on one draw
three draws   each setting on the same three draws, by the mean
Repeater      each setting on five draws of its own, by the mean: Ray Tune's `Repeater`
the rule      `reports.analysis.allocation`

Regret: ASR of the recommended setting over the fresh draws, less that of the best setting inside the accuracy bound.
Optimism: the same ASR, less what the search promised. `--simulate` makes tables with given standard deviations, with
scores over fresh draws known exactly. The last line is JSON.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tyro

from benchmarks.policies_table import Recording, record
from reports.analysis.allocation import MOST_DRAWS, next_repeat, recommended
from reports.analysis.estimates import Estimates, estimate
from reports.analysis.frontier import Bound, constrained_pick
from reports.analysis.objectives import Floats

LEAST_ACC = 0.77
"""Of a recommended setting in simulated tables."""


@dataclass(frozen=True, kw_only=True)
class Arguments(Recording):
    """Ways to spend erases on draws, replayed on a recorded table."""

    table: tyro.conf.Positional[Path | None] = None
    """CSV: setting, draw, asr, acc; control is optional, the name of a setting that comes first."""
    record: bool = False
    """Make the table, or go on with it."""
    simulate: tuple[float, float, float] | None = None
    """Standard deviation of ASR between settings, between draws, and of the rest, in place of a table."""
    seeds: int = 100
    erases: tuple[int, ...] = (40, 100)
    fresh: int = 3
    """Draws kept from the search."""
    least_acc: float | None = None
    """Accuracy bound; default: the median of the settings' accuracies."""


class Case(NamedTuple):
    """One seed's search."""

    scores: Floats
    """(settings, draws, 2), ASR and ACC of the erases that the search may do."""
    truth: Floats
    """(settings, 2), means over the fresh draws."""
    known: Floats
    """(settings, 2), the best knowledge of these means: over all draws."""
    bound: Bound
    controls: int
    """Settings at the front of the table that every policy runs first."""
    references: tuple[int, ...] = ()
    """Controls for the first look at the noise."""


class Answer(NamedTuple):
    """A policy's recommendation."""

    setting: int
    asr: float
    """Promised."""


Policy = Callable[[Case, int], Answer]
"""From a case and a number of erases."""


def main(arguments: Arguments) -> None:
    """Replay every policy, and print the figures."""
    if arguments.record and arguments.table:
        record(arguments.table, arguments)
    recorded = None if arguments.table is None else pd.read_csv(arguments.table)
    if recorded is None and arguments.simulate is None:
        raise SystemExit("give a table, or --simulate with three standard deviations")
    rows = []
    for erases in arguments.erases:
        for name, policy in POLICIES.items():
            cases = (case_of(recorded, arguments, seed) for seed in range(arguments.seeds))
            rows.append({"policy": name, "erases": erases, **judge(policy, cases, erases)})
            print("{policy:12} {erases:4} erases: regret {regret}, optimism {optimism}".format(**rows[-1]), flush=True)
    print(json.dumps(rows))


def case_of(recorded: pd.DataFrame | None, arguments: Arguments, seed: int) -> Case:
    """This seed's search of the recorded table, or of a simulated one."""
    rng = np.random.default_rng(seed)
    if recorded is None:
        return simulated(arguments.simulate or (0.2, 0.2, 0.17), rng)
    return replayed(recorded, arguments.fresh, arguments.least_acc, rng)


def replayed(recorded: pd.DataFrame, fresh: int, least_acc: float | None, rng: np.random.Generator) -> Case:
    """The table's settings and draws in random order.

    Raises: ValueError for a table with gaps, or with too few draws.
    """
    values = recorded.pivot(index="setting", columns="draw", values=["asr", "acc"])
    settings, draws = len(values), recorded["draw"].nunique()
    if draws - fresh < 1 or values.isna().any(axis=None):
        raise ValueError(f"the table has {draws} draws, {fresh} of them fresh, and must have each setting on each draw")
    named = recorded.drop_duplicates("setting").set_index("setting").reindex(values.index)
    first = named["control"].notna().to_numpy() if "control" in named else np.zeros(settings, dtype=bool)
    order = np.concatenate((np.flatnonzero(first), rng.permutation(np.flatnonzero(~first))))
    scores = values.to_numpy().reshape(settings, 2, draws).transpose(0, 2, 1)[order][:, rng.permutation(draws)]
    known = scores.mean(axis=1)
    least = float(np.median(known[:, 1])) if least_acc is None else least_acc
    names = named["control"].to_numpy()[order[: first.sum()]].tolist() if first.any() else []
    references = tuple(names.index(name) for name in ("fine-tuning", "nad-paper") if name in names)
    return Case(scores[:, fresh:], scores[:, :fresh].mean(axis=1), known, Bound(0.0, least), len(names), references)


def simulated(deviations: tuple[float, float, float], rng: np.random.Generator, settings: int = 160) -> Case:
    """A table in which stronger settings cost accuracy.  deviations: of ASR; those of ACC are as measured."""
    of_settings, of_draws, rest = deviations
    strength, own = rng.normal(size=(2, settings))
    asr, acc = 0.5 - of_settings * (0.85 * strength + 0.5 * own), 0.79 - 0.03 * strength
    truth = np.column_stack((asr, acc + 0.02 * rng.normal(size=settings)))
    common, single = rng.normal(size=(1, MOST_DRAWS, 2)), rng.normal(size=(settings, MOST_DRAWS, 2))
    scores = np.clip(truth[:, None] + common * [of_draws, 0.008] + single * [rest, 0.013], 0, 1)
    # What clipping does to the mean: the mean over many fresh draws.
    noise = np.hypot(of_draws, rest) * rng.normal(size=4000)
    truth[:, 0] = np.clip(truth[:, :1] + noise, 0, 1).mean(axis=1)
    return Case(scores, truth, truth, Bound(0.0, LEAST_ACC), 5, (0, 1))


def fixed(draws: int, *, common: bool = True) -> Policy:
    """So many draws of each setting, by the mean.  common: the same ones for all settings."""

    def search(case: Case, erases: int) -> Answer:
        count, available = min(erases // draws, len(case.scores)), case.scores.shape[1]
        taken = min(draws, available)
        means = np.array(
            [
                case.scores[one, (np.arange(taken) + (0 if common else one)) % available].mean(axis=0)
                for one in range(count)
            ]
        )
        return _answer(np.arange(count), means, case.bound)

    return search


def rule(case: Case, erases: int) -> Answer:
    """The controls, then what the allocation rule asks."""
    rows: list[tuple[int, int]] = []
    begun: Counter[int] = Counter()
    settings, draws = case.scores.shape[:2]
    for left in range(erases, 0, -1):
        setting = None
        if len(begun) >= case.controls and rows:
            found = estimates(case, rows)
            setting = next_repeat(
                found,
                [],
                case.bound,
                references=case.references,
                available=lambda _setting, draw: draw < draws,
                left=left,
            )
        if setting is None and len(begun) == settings:
            break
        setting = len(begun) if setting is None else setting
        rows.append((setting, begun[setting]))
        begun[setting] += 1
    found = estimates(case, rows)
    pick = recommended(found, case.bound)
    if pick is None:
        return _answer(found.settings, found.mean[:, :2], case.bound)
    return Answer(int(found.settings[pick]), float(found.mean[pick, 0]))


def estimates(case: Case, rows: list[tuple[int, int]]) -> Estimates:
    """Of the settings after these erases, each a setting and a draw."""
    setting, draw = np.array(rows, dtype=np.intp).T
    scores = case.scores[setting, draw]
    return estimate(np.column_stack((scores, np.full(len(scores), np.nan))), setting, draw)


def _answer(settings: Any, means: Floats, bound: Bound) -> Answer:
    """The lowest ASR inside the bound; the highest accuracy if nothing is."""
    pick = constrained_pick(means[:, 0], means[:, 1], np.full(len(means), np.nan), bound)
    pick = int(means[:, 1].argmax()) if pick is None else pick
    return Answer(int(settings[pick]), float(means[pick, 0]))


POLICIES: dict[str, Policy] = {
    "single runs": fixed(1),
    "three draws": fixed(3),
    "Repeater": fixed(5, common=False),
    "the rule": rule,
}


def judge(policy: Policy, cases: Any, erases: int) -> dict[str, float]:
    """Means over the cases, with the standard error of the regret.

    `miss` is the mean absolute optimism; `short` the accuracy of the recommended setting below the bound.
    """
    rows = []
    for case in cases:
        answer = policy(case, erases)
        asr, acc = case.truth[answer.setting]
        best = constrained_pick(case.known[:, 0], case.known[:, 1], np.full(len(case.known), np.nan), case.bound)
        least = case.bound.acc - case.bound.max_drop
        rows.append((asr - case.truth[best, 0], asr - answer.asr, abs(asr - answer.asr), max(least - acc, 0.0)))
    found = np.array(rows)
    names = ("regret", "optimism", "miss", "short")
    means = {name: round(float(value), 4) for name, value in zip(names, found.mean(axis=0), strict=True)}
    return {**means, "regret_error": round(float(found[:, 0].std() / len(found) ** 0.5), 4)}


if __name__ == "__main__":
    main(tyro.cli(Arguments))
