"""The data shared by all workers of a study: images, victim, teachers."""

from __future__ import annotations

from dataclasses import replace

from nad.evaluation import EvalSet
from nad.scenario import Scenario
from nad.victim import Victim
from study.engine.erase_task import GLANCE, Origin, Workload, as_arrays
from study.options.config import StudyConfig


def make_workload(
    config: StudyConfig, scenario: Scenario, victim: Victim, eval_set: EvalSet, origin: Origin | None = None
) -> Workload:
    """The workload of draw 0, still without teachers.

    eval_set: images for scoring erased models.  origin: of teachers of another architecture.
    """
    largest = scenario.holdout(max(config.search.fractions))
    watched = scenario.validation.subset(GLANCE).clean
    return Workload(
        model=config.victim.architecture,
        classes=scenario.dataset.classes,
        flip=scenario.dataset.flip,
        seed=config.search.seed,
        train_size=len(scenario.dataset.train),
        holdout_images=largest.images.numpy(),
        holdout_labels=largest.labels.numpy(),
        clean_images=eval_set.clean.images.numpy(),
        clean_labels=eval_set.clean.labels.numpy(),
        triggered_images=eval_set.triggered.images.numpy(),
        triggered_labels=eval_set.triggered.labels.numpy(),
        watched_images=watched.images.numpy(),
        watched_labels=watched.labels.numpy(),
        target=eval_set.target if isinstance(eval_set.target, int) else eval_set.target.numpy(),
        victim=as_arrays(victim.state),
        teachers={},
        teachers_origin=origin,
        threads=config.engine.cpus_per_trial,
        precision=config.engine.used_precision,
    )


def for_draw(workload: Workload, scenario: Scenario, clean_fraction: float, draw: int) -> Workload:
    """The same for another draw, with its holdout up to this clean fraction; the rest is shared memory."""
    holdout = scenario.holdout(clean_fraction, draw)
    return replace(workload, holdout_images=holdout.images.numpy(), holdout_labels=holdout.labels.numpy(), draw=draw)
