"""How a study stops trials early: the rule of `study.search.halving`, applied to erases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from nad.training import SCHEDULES
from reports.analysis.objectives import OBJECTIVES, costs
from study.engine.erase_task import GLANCE, Workload
from study.options.config import StudyConfig
from study.search.halving import Halving, Seen, chance_floor, settled_from
from study.search.searcher import Pruner, Shown


def pruner(config: StudyConfig, workload: Workload) -> Pruner:
    """Why an erase should not go on, from what it and the others showed at the glance after each epoch.

    An erase whose loss is not finite needs no rule here: it raises EraseDiverged in the epoch where that happens.
    """
    rule = Halving(floor=chance_floor(torch.tensor(workload.clean_labels[:GLANCE])))

    def seen(shown: Shown) -> Seen:
        erase = config.point_at(shown.params).erase
        scores = np.array([[entry[goal.name] for goal in OBJECTIVES] for entry in shown.curve], dtype=float)
        settled = settled_from(SCHEDULES[erase.schedule], erase.epochs)
        last = shown.curve[-1] if shown.curve else {"acc": 0.0}
        balanced_acc = last.get("balanced_acc", last["acc"])  # studies before it was measured
        return Seen(costs(scores.reshape(-1, len(OBJECTIVES))), erase.epochs, settled, shown.complete, balanced_acc)

    def objection(trial: Shown, others: Sequence[Shown]) -> str:
        return rule.objection(seen(trial), (seen(other) for other in others))

    return objection
