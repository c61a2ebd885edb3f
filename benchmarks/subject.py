"""Images, victim, teachers and Ray session of the benchmarks of erases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nad.data import fingerprint
from nad.evaluation import EvalSet
from nad.scenario import Scenario
from nad.victim import VictimConfig
from study.display.progress import Display
from study.engine import session
from study.engine.erase_task import Workload
from study.options.config import StudyConfig
from study.record.folder import cache_folder
from study.stages.preparation import Preparation
from study.stages.teachers import with_teachers
from study.stages.workload import make_workload


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The victim to erase; from the cache if a study has trained it."""

    dataset: str = "fashion-c"
    data_dir: Path | None = None
    attack: str = "refool"
    attack_args: tuple[str, ...] = ()
    target: int = 0
    victim_epochs: int = 16
    precision: str = "auto"

    def settings(self, clean_fractions: Sequence[float]) -> StudyConfig:
        """A study of this victim."""
        return StudyConfig.of(
            attack=self.attack,
            attack_args=self.attack_args,
            target=self.target,
            dataset=self.dataset,
            data_dir=self.data_dir,
            victim_epochs=self.victim_epochs,
            precision=self.precision,
            clean_fractions=tuple(clean_fractions),
            allow_weak_backdoor=True,
        )


@contextmanager
def workload_of(
    config: StudyConfig,
    eval_set: Callable[[Scenario], EvalSet],
    *,
    cpus: int,
    display: Display,
    recipe: VictimConfig | None = None,
) -> Iterator[Workload]:
    """The trials' shared workload, inside a Ray session with `cpus` CPUs.

    eval_set: chooses the images to score on.  recipe: the victim's, instead of the study's.
    """
    preparation, recipe = Preparation(config, cache_folder(None), display), recipe or config.recipe
    scenario = preparation.prepare_attack(preparation.load_scenario(), recipe)
    victim = preparation.prepare_victim(scenario, recipe)
    block = make_workload(config, scenario, victim, eval_set(scenario))
    with session.ray_session(cpus=cpus):
        teachers = [(0, fraction) for fraction in config.search.fractions]
        yield with_teachers({0: block}, teachers, fingerprint(scenario.dataset), preparation)[0]
