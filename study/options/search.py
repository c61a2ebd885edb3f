"""Options of the search: its space, sampler and trials, the baselines, and the confirmation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import search_spaces
from study.options.durations import parse_duration
from study.options.helptext import documented


@documented
@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Search space, sampler, trials, baselines and confirmation."""

    space: str = "nad"
    """The search space: nad (layers and strengths, learning rate, batch size, schedule, epochs, clean data);
    nad-published (the paper's, at its learning rate); fine-tuning (nad without distillation)."""
    portfolio: bool = True
    """Ask the portfolio right after the controls: settings that did well in earlier studies."""
    portfolio_without: tuple[str, ...] = ()
    """Leave out the portfolio's settings tuned on these attacks, such as badnets, for an honest comparison."""
    clean_fractions: tuple[float, ...] | None = None
    """Shares of the training set owned by the defender. Default: the space's (0.01 0.05 0.1 0.2)."""
    sampler: str = "tpe"
    """Proposes the settings: tpe, gp, nsga2, quasi-random or random."""
    trials: int = 24
    """The wanted number of trials, complete or pruned, controls and repeats included. A trial is one erase."""
    prune: bool = False
    """Stop a trial in the worse half after 4, 8 or 16 epochs, or one still guessing after half of its own. It counts as
    one of --trials. Controls are never pruned."""
    time_budget: str | None = None
    """Start no further trial after this long, such as 90s, 30m or 8h; running ones finish and count."""
    trial_timeout: str | None = None
    """Kill a trial after this long, such as 20m, and retry its setting once. Default: no limit."""
    until_converged: bool = False
    """Stop before --trials when the front stops growing: when the last half of at least 30 settings added less than 1%
    to its hypervolume. The same command then starts no more trials."""
    warm_start: tuple[Path, ...] = ()
    """Folders of earlier studies. Their ten best settings run right after the portfolio; scores are not copied."""
    max_acc_drop: float = 0.03
    """The recommended setting loses at most this much accuracy against the victim; the sampler aims there too."""
    confirm: int = 3
    """Number of fresh draws for re-running the recommended setting and the controls on test images, after the trials.
    The time budget does not limit it. Also trains a clean model, in the time of the victim's training, to measure the
    cost of the recommended setting without a backdoor. 0: none."""
    baselines: tuple[str, ...] = ()
    """Other defences to run beside NAD, once at every clean fraction and again in the confirmation: fst, fine-pruning,
    fine-tuning-backdoorbench, mode-connectivity, anp, i-bau, ft-sam. Default: none; all but the first two take many
    times as long as a trial. The time budget does not limit them. They can be added to a finished study."""
    baseline_fractions: tuple[float, ...] | None = None
    """Run the baselines at these clean fractions only, such as that of the recommended setting. Default: all of the
    study's."""
    seed: int = 0
    """Seeds everything: the split, the victim, the trials, the sampler."""

    @property
    def fractions(self) -> tuple[float, ...]:
        """The study's clean fractions, ascending, each once."""
        return tuple(sorted(set(self.clean_fractions or search_spaces.get(self.space).clean_fractions)))

    @property
    def budget_seconds(self) -> float | None:
        """The time budget in seconds; None for no limit."""
        return None if self.time_budget is None else parse_duration(self.time_budget, "--time-budget")

    @property
    def trial_seconds(self) -> float | None:
        """The time limit of one trial, in seconds; None for no limit."""
        return None if self.trial_timeout is None else parse_duration(self.trial_timeout, "--trial-timeout")
