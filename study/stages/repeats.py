"""Runs beside the trials, of the confirmation and the baselines: planned, made once, recorded.

The study's storage is their record: one attribute of the study for each run, so an interrupted stage resumes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import optuna

from study.display.progress import Display
from study.engine import tasks
from study.engine.erase_task import Workload

FAILED = "failed"
"""Key of a failed run's reason. Such a result is not recorded."""


class Planned(Protocol):
    """One planned run."""

    @property
    def key(self) -> str:
        """Its attribute of the study."""
        ...

    @property
    def argument(self) -> Any:
        """Its argument as a task."""
        ...


P = TypeVar("P", bound=Planned)


def key_prefix(kind: str, settings: Any) -> str:
    """Common start of the keys of all draws of these settings; the draw follows."""
    text = json.dumps(settings, sort_keys=True)
    return f"{kind} {hashlib.sha256(text.encode()).hexdigest()[:16]} "


def by_draw(recorded: Mapping[str, Any], prefix: str) -> dict[int, dict[str, Any]]:
    """Recorded results with this prefix, by draw.  recorded: the study's attributes."""
    return {int(key.removeprefix(prefix)): value for key, value in recorded.items() if key.startswith(prefix)}


def missing(study: optuna.Study, runs: Iterable[P]) -> list[P]:
    """The runs not in the record yet."""
    recorded = study.user_attrs
    return [run for run in runs if run.key not in recorded]


@dataclass(frozen=True)
class Repeats:
    """Makes planned runs in parallel and records each as it ends."""

    study: optuna.Study
    size: tuple[int, float]
    """CPUs and GPUs of one run."""
    display: Display
    on_run: Callable[[], object]
    """Called after each recorded run, to update the study's files."""

    def run(
        self,
        stage: str,
        function: tasks.TaskFunction,
        planned: Sequence[P],
        workloads_for: Callable[[Sequence[P]], Mapping[int, Workload]],
    ) -> None:
        """Make the missing ones of the planned runs.

        workloads_for: the workloads of these runs, by draw; asked only if a run is missing.
        """
        runs = missing(self.study, planned)
        if not runs:
            return
        payload = dict(workloads_for(runs))
        with self.display.stage(stage, "runs") as step:
            done = len(planned) - len(runs)
            step(done, len(planned))

            def on_done(index: int, result: Mapping[str, Any]) -> None:
                nonlocal done
                if FAILED in result:
                    self.display.say(f"{runs[index]} failed: {result[FAILED]}; mend it and run the same command again")
                    return
                self.study.set_user_attr(runs[index].key, dict(result))
                done += 1
                step(done, len(planned))
                self.on_run()

            tasks.run_tasks(
                function,
                [run.argument for run in runs],
                payload=payload,
                cpus=self.size[0],
                gpus=self.size[1],
                on_done=on_done,
                on_progress=lambda running: step(done, len(planned), running),
            )
