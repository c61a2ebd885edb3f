"""`python -m study.run`: reads the command line, puts the parts together, and ends every mistake in one sentence."""

from __future__ import annotations

import inspect
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import optuna
import tyro
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

import search_spaces
from nad.attacks import ATTACKS
from nad.attacks.picture import save_picture
from nad.errors import NadError
from nad.seeds import generator
from reports.build import ReportError, build
from reports.objectives import OBJECTIVES
from reports.wording import duration
from study import attack_settings, baselines, engine, product, provenance, records, tuning
from study.asking import enqueue
from study.clock import Clock
from study.cluster.joining import on_cluster
from study.config import StudyConfig
from study.confirmation_runs import Confirmation
from study.energy import EnergyMeter
from study.files import StudyFiles
from study.folder import StudyFolder, cache_folder, open_folder
from study.foreign_victim import read_victim, require_classes
from study.fork import FORK_OF, fork, fork_of
from study.objective import Workload, describe_point, run_trial
from study.preparation import (
    PICTURES,
    load_scenario,
    make_workload,
    prepare_attack,
    prepare_victims,
    require_models,
    victim_digests,
    with_teachers,
)
from study.pruning import pruner
from study.record.opening import open_record
from study.record.storage_url import masked_arguments
from study.search import OptunaSearcher, TrialEvent
from study.signals import Interrupted, read_to_the_end, stopped_at_once
from study.summary import Summary
from study.tuning import TrialFunction
from study.warm_start import EarlierPoint, warm_start
from study.watching.events import display_for
from study.watching.observers import observers
from study.watching.progress import Display, TrialBoard


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, 2 for what the user can mend, 130 for Ctrl-C, 143 for SIGTERM."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    display = display_for(given)
    os.umask(0o077)  # what a study writes is for its owner alone
    try:
        config = tyro.cli(StudyConfig, args=given, prog="nad-study", description=description(given))
        command = shlex.join(["python", "-m", "study.run", *masked_arguments(given)])
        with stopped_at_once():
            report = run(config, command=command, display=display)
    except (NadError, ReportError) as error:
        return display.failed(str(error), 2)
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        return display.failed(f"the study's record cannot be written ({reason}); {_GO_ON}", 2)
    except BrokenPipeError:
        raise  # nobody reads what this prints any more
    except OSError as error:
        return display.failed(f"{error.strerror or error} ({error.filename or 'no file'}); {_GO_ON}", 2)
    except KeyboardInterrupt as error:
        code = error.exit_code if isinstance(error, Interrupted) else 130
        return display.failed("interrupted: finished trials are kept; the same command goes on from here", code)
    display.finished(report)
    return 0


def description(given: Sequence[str]) -> str:
    """What --help says first: of the tool, and of the attack that is named beside it."""
    words = [word for each in given for word in each.split("=", 1)] + [""]
    named = [value for option, value in pairwise(words) if option == "--attack"]
    attack = named[-1] if named else StudyConfig.attack
    of_attack = attack_settings.describe_settings(attack) if attack in ATTACKS else ""
    return f"{inspect.cleandoc(StudyConfig.__doc__ or '')}\n\n{of_attack}"


_GO_ON = "mend that and run the same command again: finished trials are kept"


def run(config: StudyConfig, *, command: str, display: Display) -> Path:
    """Run or resume a study, and return the path of its report.

    Raises: NadError or ReportError for what the user can mend; KeyboardInterrupt after the record was put in order.
    """
    started = time.monotonic()
    cache = cache_folder(config.cache)
    config, source = read_victim(config, display)
    old = config.study_name if config.fork else fork_of(config.directory)
    config, earlier = earlier_points(config, display)
    config.made_attack  # noqa: B018 - raises for settings that are out of range, before there is a folder
    with open_folder(config.directory) as folder, observers(config, folder, display) as observe:
        scenario = load_scenario(config, cache, display)
        require_classes(source, scenario)
        require_models(config, scenario)
        baselines.require_fit(config.baselines, config.architecture, scenario.dataset.classes)
        with open_record(config, folder, display.say) as study, on_cluster(config, display):
            identity = provenance.identity(config, scenario, source)
            started_with = {"command": command, "directory": os.getcwd(), "settings": config.shown(), FORK_OF: old}
            provenance.claim(folder, study, started_with, identity)
            scenario = prepare_attack(config, scenario, source, cache, display)
            save_picture(
                folder.picture, scenario.attack, scenario.sample(PICTURES).images, generator(config.seed, "picture")
            )
            victim, origin = prepare_victims(config, scenario, source, cache, display)
            provenance.require_same_victims(study, victim_digests(victim, origin))
            provenance.record_identity(study, identity)
            clock, meter = Clock(study, started), EnergyMeter(study)
            clock.set("victim", victim.seconds)
            summary = Summary(config, study, scenario, victim, command, clock, meter)
            files = StudyFiles(folder, study, summary.read)
            images = str(identity["images"])
            with engine.ray_session(cpus=config.cpus):
                with clock.stage("teachers"):
                    workload = make_workload(config, scenario, victim, scenario.validation, origin)
                    wanted = [(workload.draw, fraction) for fraction in config.fractions]
                    workload = with_teachers({workload.draw: workload}, wanted, config, images, cache, display)[0]
                with recorded(folder, files), clock.stage("trials"):
                    search(config, study, workload, victim.scores.acc, earlier, display, files, observe)
                with clock.stage("baselines"):
                    baselines.search(config, study, workload, display, files.refresh)
                product.make(config, study, scenario, victim.scores.acc, workload, folder, display)
                product.write_card(folder, files.write())
                if config.confirm:
                    again = Confirmation(config, study, scenario, victim, origin, images, cache, display, files.refresh)
                    confirm(again, folder, clock, files)
            return build(folder.path)


@contextmanager
def recorded(folder: StudyFolder, files: StudyFiles) -> Iterator[None]:
    """The files are up to date at the end, however it comes; so is the page, where running trials were let finish."""
    try:
        yield
    except Interrupted as error:
        if error.finished:
            files.write()
            build(folder.path)
        raise
    finally:
        files.write()


def confirm(again: Confirmation, folder: StudyFolder, clock: Clock, files: StudyFiles) -> None:
    """Run what matters again; the files are up to date at the end, however it comes."""
    build(folder.path)  # what comes may take long: there is something to look at
    try:
        with clock.stage("confirmation"):
            again.run()
    finally:
        product.write_card(folder, files.write())


def search(
    config: StudyConfig,
    study: optuna.Study,
    workload: Workload,
    victim_acc: float,
    earlier: Sequence[EarlierPoint],
    display: Display,
    files: StudyFiles,
    observe: Callable[[TrialEvent], None],
    run_one: TrialFunction = run_trial,
) -> None:
    """Run trials until the wanted number is complete or pruned, the time budget is over, or, where that is asked for,
    the front has stopped growing; keep the files up to date.

    The sampler is told of --max-acc-drop: an erase that ruins the classifier is on the front, but teaches little.
    """
    space = search_spaces.get(config.space)
    domain = config.domain
    for name, params in space.controls(domain):
        enqueue(study, params, {"control": name})
    for point in earlier:
        enqueue(study, point.params, {"warm_start": point.study})
    budget = config.budget_seconds
    board = TrialBoard.of(study)
    with display.stage("trials", "done", lambda: str(board)) as step:

        def on_event(event: TrialEvent) -> None:
            board.on_event(event)
            observe(event)
            step(board.done, config.trials)
            if event.kind not in ("started", "progress"):
                # A full disk ends the study when the next trial is recorded; these files are only its shadow.
                with suppress(NadError):
                    files.refresh()

        step(board.done, config.trials)
        searcher = OptunaSearcher(
            study,
            lambda trial: describe_point(space.suggest(trial, domain)),
            tuple(goal.name for goal in OBJECTIVES),
            config.trials,
            seed=config.seed,
            constraints=lambda scores: {"acc_drop": victim_acc - scores["acc"] - config.max_acc_drop},
            enough=(lambda: records.converged(study) is not None) if config.until_converged else None,
            pruner=pruner(config, workload) if config.prune else None,
            deadline=None if budget is None else time.monotonic() + budget,
            on_event=on_event,
        )
        tuning.run_trials(
            run_one,
            searcher,
            payload=workload,
            slots=config.slots,
            cpus_per_trial=config.cpus_per_trial,
            gpus_per_trial=config.gpus_per_trial,
            trial_timeout=config.trial_seconds,
            on_interrupt=lambda: display.say(last_words(study)),
        )
    if config.until_converged and (why := records.stopped(study, config.trials)):
        display.say(why)


def last_words(study: optuna.Study) -> str:
    """After the first Ctrl-C: what is waited for, and for how long at most if trials take as long as they did."""
    running = len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    longest = max((trial.user_attrs.get("seconds", 0.0) for trial in complete), default=0.0)
    wait = f" (about {duration(longest)} at most)" if longest else ""
    trials = f"{running} running trial" + ("s" if running != 1 else "")
    return f"no further trial starts; finishing {trials}{wait}; once more stops at once"


def earlier_points(config: StudyConfig, display: Display) -> tuple[StudyConfig, Sequence[EarlierPoint]]:
    """The study to run, which is another one for --fork, and the settings that --fork and --warm-start bring, after a
    line about each.

    Raises: ConfigError for a study or a folder of one that is not there.
    """
    points: list[EarlierPoint] = []
    if config.fork:
        old = config.study_name
        config, found = fork(config)
        display.say(found.said(f"fork: settings of the study {old!r}"))
        points += found.points
    if config.warm_start:
        found = warm_start(config.warm_start, config.directory, search_spaces.get(config.space), config.domain)
        display.say(str(found))
        points += found.points
    return config, points


if __name__ == "__main__":
    with read_to_the_end():
        sys.exit(main())
