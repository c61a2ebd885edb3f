"""The next erase of a search: a new setting, or a further draw of one that matters. A pure function of the erases.

Source: the idea of intensification in SMAC3 (Lindauer et al. 2022); the rule is explained in docs/noise.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from reports.analysis.estimates import Estimates
from reports.analysis.frontier import Bound, Indices, constrained_pick, front_order
from reports.analysis.objectives import costs

SHARE = (0.25, 0.5)
"""Least and largest share of repeats among all erases."""
LEADERS = 5
"""Settings of the lowest ASR, repeated before the front."""
SLACK = 0.005
"""A leader may lose this much more accuracy than the bound allows."""
MOST_DRAWS = 8
"""Of one setting in a search."""
LEAST_DRAWS = 3
"""Of a setting that matters: pooled variances understate the noise of settings that erase half of the time."""
ENOUGH = 0.8
"""Reliability of a setting that needs no further draw."""
FINALE = 0.1
"""Last part of the trials, for the finalists before any new setting."""
FINALISTS = 2
"""Leaders that the finale repeats."""
FINAL_DRAWS = 4
"""Of a finalist that needs no further draw."""
FIRST_LOOKS = 3
"""Draws of each reference setting before any proposal: the first look at the noise."""

Available = Callable[[int, int], bool]
"""True if this setting can start on its next draw; its number of draws so far comes second."""


def next_repeat(
    estimates: Estimates,
    running: Iterable[tuple[int, int]],
    bound: Bound,
    *,
    references: Sequence[int] = (),
    available: Available = lambda _setting, _draw: True,
    left: int | None = None,
) -> int | None:
    """The setting to run again on its next draw, or None for a new setting.

    estimates: of ASR, ACC and balanced ACC.  running: setting and draw of each running erase; they count as done.
    references: settings for the first look at the noise, in order.
    available: for settings whose next draw must wait; another one is taken then.
    left: erases that the study has not begun, this one included; None without a limit, and then without a finale.
    """
    begun = Counter(dict(zip(estimates.settings.tolist(), estimates.draws.tolist(), strict=True)))
    known = set(begun)
    begun.update(setting for setting, _draw in running)
    erases = begun.total()

    def first(settings: Iterable[int], least: int, most: int) -> int | None:
        for setting in settings:
            draws = begun[setting]
            enough = draws >= least and draws / (draws + estimates.kappa[0]) >= ENOUGH
            if draws < most and not enough and available(setting, draws):
                return setting
        return None

    looks = sorted((setting for setting in references if setting in known), key=lambda setting: begun[setting])
    order = _in_order(estimates, bound)
    found = first(looks, FIRST_LOOKS, FIRST_LOOKS)
    if found is None and left is not None and left <= FINALE * (erases + left):
        found = first(order[:FINALISTS], FINAL_DRAWS, MOST_DRAWS)
    if found is None and erases - len(begun) < repeat_share(estimates) * erases:
        found = first(order, LEAST_DRAWS, MOST_DRAWS)
    return found


def repeat_share(estimates: Estimates) -> float:
    """Share of the erases for repeats: more, the more the draws move the scores."""
    kappa = float(estimates.kappa[0])
    return float(np.clip(kappa / (1 + kappa), *SHARE))


def _in_order(estimates: Estimates, bound: Bound) -> list[int]:
    """The leaders, then the front."""
    asr, acc, balanced_acc = estimates.mean.T
    kept = np.flatnonzero(bound._replace(max_drop=bound.max_drop + SLACK).kept(acc, balanced_acc))
    leaders = kept[np.lexsort((-acc[kept], asr[kept]))][:LEADERS]
    front = front_order(costs(estimates.mean[:, :2]))
    return list(dict.fromkeys(estimates.settings[np.concatenate((leaders, front))].tolist()))


def recommended(estimates: Estimates, bound: Bound) -> int | None:
    """Index of the reliable setting with the lowest ASR inside the bound, or None."""
    (reliable,) = np.nonzero(estimates.reliable)
    asr, acc, balanced_acc = estimates.mean[reliable].T
    pick = constrained_pick(asr, acc, balanced_acc, bound)
    return None if pick is None else int(reliable[pick])


def front(estimates: Estimates) -> Indices:
    """Indices of the reliable settings on the front, by rising ASR."""
    (reliable,) = np.nonzero(estimates.reliable)
    return np.asarray(reliable[front_order(costs(estimates.mean[reliable, :2]))])
