"""The trials of a study: queued settings, the sampler's constraints, the end, the display."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState

import search_spaces
from nad.errors import NadError
from reports.analysis.allocation import next_repeat
from reports.analysis.frontier import Bound
from reports.analysis.objectives import OBJECTIVES
from reports.formatting import duration
from search_spaces import Domain, SearchSpace, portfolio
from study.display.progress import Display, TrialBoard
from study.engine import tune
from study.engine.erase_task import run_trial
from study.engine.tune import TrialFunction
from study.options.config import StudyConfig
from study.record import exports
from study.record.files import StudyFiles
from study.search.queue import enqueue
from study.search.searcher import OptunaSearcher
from study.search.settings import SETTING, SettingTable, setting_of
from study.search.trial_event import TrialEvent
from study.search.warm_start import MOST_POINTS, WARM_START, Earlier, coordinates, fitting
from study.stages.draws import Draws, OnDraws
from study.stages.pruning import pruner

REFERENCES = ("fine-tuning", "nad-paper")
"""Controls on further draws before any proposal: the first look at the noise."""


@dataclass(frozen=True)
class TrialStage:
    """Runs the trials of a study."""

    config: StudyConfig
    study: optuna.Study
    draws: Draws
    domain: Domain
    bound: Bound
    display: Display

    def run(
        self,
        earlier: Sequence[Earlier],
        files: StudyFiles,
        observe: Callable[[TrialEvent], None],
        run_one: TrialFunction = run_trial,
    ) -> None:
        """Run trials up to the wanted number, the end of the time budget, or convergence; keep the files up to date."""
        options, engine, study, display = self.config.search, self.config.engine, self.study, self.display
        self._enqueue_known(earlier)
        board = TrialBoard.of(study)
        with display.stage("trials", "done", lambda: str(board)) as step:

            def on_event(event: TrialEvent) -> None:
                board.on_event(event)
                observe(event)
                step(board.done, options.trials)
                if event.kind not in ("started", "progress"):
                    # A full disk ends the study at the next trial's record; these files are mere copies.
                    with suppress(NadError):
                        files.refresh()

            step(board.done, options.trials)
            tune.run_trials(
                run_one,
                OnDraws(self._searcher(on_event), self.draws),
                payload=self.draws.workload,
                slots=engine.slots,
                cpus_per_trial=engine.cpus_per_trial,
                gpus_per_trial=engine.gpus_per_trial,
                trial_timeout=options.trial_seconds,
                on_interrupt=lambda: display.say(_last_words(study)),
            )
        if options.until_converged and (why := exports.stopped(study, options.trials)):
            display.say(why)

    def _searcher(self, on_event: Callable[[TrialEvent], None]) -> OptunaSearcher:
        """The study's sampler as a searcher, with --max-acc-drop as its constraint.

        Without the constraint, it would also search the end of the front with ruined classifiers.
        """
        options, study, domain = self.config.search, self.study, self.domain
        budget = options.budget_seconds
        return OptunaSearcher(
            study,
            lambda trial: self._space.suggest(trial, domain).values(domain.layers),
            tuple(goal.name for goal in OBJECTIVES),
            options.trials,
            seed=options.seed,
            bound=self.bound,
            allocation=self._next_repeat,
            enough=(lambda: exports.converged(study) is not None) if options.until_converged else None,
            pruner=pruner(self.draws.workload) if options.prune else None,
            deadline=None if budget is None else time.monotonic() + budget,
            on_event=on_event,
        )

    @property
    def _space(self) -> SearchSpace:
        return search_spaces.get(self.config.search.space)

    def _next_repeat(self, table: SettingTable, left: int) -> int | None:
        """The setting to run again, by the allocation rule."""
        first = sorted(table.first.items(), reverse=True)
        named = {trial.user_attrs.get("control"): number for number, trial in first}

        def available(number: int, _begun: int) -> bool:
            setting, draw = setting_of(table.first[number]), table.next_draw(number)
            return number not in table.failing and not self.draws.is_in_the_making(setting, draw)

        return next_repeat(
            table.estimates,
            table.running,
            self.bound,
            references=[named[name] for name in REFERENCES if name in named],
            available=available,
            left=left,
        )

    def _enqueue_known(self, earlier: Iterable[Earlier]) -> None:
        """Queue the controls, the portfolio and the settings of earlier studies before the sampler's."""
        study, domain = self.study, self.domain
        for name, point in self._space.controls(domain):
            params, misfit = coordinates(point, self._space, domain)
            fixed = {SETTING: point.values(domain.layers)} if misfit else {}
            enqueue(study, params, {"control": name, **fixed})
        self._enqueue_portfolio()
        for origin, found in earlier:
            said = fitting(found, self._space, domain, most=MOST_POINTS if origin == WARM_START else None)
            self.display.say(said.said(origin))
            for name, params in said.points:
                enqueue(study, params, {"warm_start": name})

    def _enqueue_portfolio(self) -> None:
        """Queue the settings of earlier studies that every study asks, and say what is left out."""
        search, domain, attack = self.config.search, self.domain, self.config.victim.attack
        if not search.portfolio:
            return
        asked, outside = [], []
        for entry in portfolio.entries(domain, search.portfolio_without):
            params, misfit = coordinates(entry.point, self._space, domain)
            if misfit:
                outside.append(entry.name)
            else:
                enqueue(self.study, params, {"portfolio": entry.name})
                asked.append(entry)
        for name, why in portfolio.left_out(domain, search.portfolio_without).items():
            self.display.say(f"portfolio: {name} is left out: {why}")
        if outside:
            self.display.say(f"portfolio: left out, since the space {search.space} lacks them: {', '.join(outside)}")
        if tuned := [entry.name for entry in asked if attack in entry.tuned_on]:
            remedy = f"--portfolio-without {attack} leaves them out"
            self.display.say(f"portfolio: found on {attack} itself: {', '.join(tuned)}; {remedy}")


def _last_words(study: optuna.Study) -> str:
    """The sentence after the first Ctrl-C: running trials, and the longest wait by earlier durations."""
    running = len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    longest = max((trial.user_attrs.get("seconds", 0.0) for trial in complete), default=0.0)
    wait = f" (about {duration(longest)} at most)" if longest else ""
    trials = f"{running} running trial" + ("s" if running != 1 else "")
    return f"no further trial starts; finishing {trials}{wait}; once more stops at once"
