"""Early stopping of erases, by the rule of `study.search.halving`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from nad.training import SCHEDULES
from reports.analysis.objectives import OBJECTIVES, costs
from search_spaces import Point
from study.engine.erase_task import GLANCE, Workload
from study.search.halving import Halving, Seen, chance_floor, settled_from
from study.search.searcher import Pruner, Shown


def pruner(workload: Workload) -> Pruner:
    """The reason for stopping an erase, from its and the others' glance scores after each epoch.

    A NaN or infinite loss needs no rule: the erase raises EraseDiverged in its epoch.
    """
    rule = Halving(floor=chance_floor(torch.tensor(workload.clean_labels[:GLANCE])))

    def seen(shown: Shown) -> Seen:
        erase = Point.of(shown.setting).erase
        scores = np.array([[entry[goal.name] for goal in OBJECTIVES] for entry in shown.curve], dtype=float)
        settled = settled_from(SCHEDULES[erase.schedule], erase.epochs)
        last = shown.curve[-1] if shown.curve else {"acc": 0.0}
        balanced_acc = last.get("balanced_acc", last["acc"])  # absent in older studies
        return Seen(costs(scores.reshape(-1, len(OBJECTIVES))), erase.epochs, settled, shown.complete, balanced_acc)

    def objection(trial: Shown, others: Sequence[Shown]) -> str:
        return rule.objection(seen(trial), (seen(other) for other in others))

    return objection
