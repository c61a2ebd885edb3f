"""`python -m study.run`: reads the command line, puts the parts together, and ends every mistake in one sentence."""

from __future__ import annotations

import inspect
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import tyro
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from sqlalchemy.exc import SQLAlchemyError

import search_spaces
from nad.attacks import ATTACKS
from nad.attacks.picture import save_picture
from nad.devices import out_of_memory
from nad.errors import NadError
from nad.seeds import generator
from nad.threads import following_load
from reports.build import ReportError, build
from reports.streams import show_any_text
from study.display import tensorboard
from study.display.events import display_for
from study.display.observers import observers
from study.display.progress import Display
from study.engine import code, session
from study.engine.devices import require_devices
from study.engine.machine import require_machine
from study.options import attack_settings
from study.options.command_line import require_unicode, told_in_a_sentence
from study.options.config import StudyConfig
from study.options.storage_url import masked_arguments
from study.record import provenance
from study.record.clock import Clock
from study.record.energy import EnergyMeter
from study.record.exports import bound_of
from study.record.files import StudyFiles
from study.record.folder import StudyFolder, cache_folder, open_folder
from study.record.opening import open_record
from study.search.fork import FORK_OF, fork, fork_of
from study.search.warm_start import EarlierPoint, warm_start
from study.signals import Interrupted, read_to_the_end, stopped_at_once, stopped_by_the_second
from study.stages import baselines, product, trials
from study.stages.cluster import on_cluster
from study.stages.confirmation_runs import Confirmation
from study.stages.preparation import (
    PICTURES,
    load_scenario,
    make_workload,
    prepare_attack,
    prepare_victims,
    require_models,
    victim_digests,
    with_teachers,
)
from study.stages.summary import Summary
from study.stages.victim_file import read_victim, require_classes


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, 2 for what the user can mend, 130 for Ctrl-C, 143 for SIGTERM."""
    show_any_text()
    given = list(sys.argv[1:] if arguments is None else arguments)
    display = display_for(given)
    os.umask(0o077)  # what a study writes is for its owner alone
    try:
        with told_in_a_sentence(StudyConfig, given):
            config = tyro.cli(StudyConfig, args=given, prog="nad-study", description=description(given))
        command = shlex.join(["python", "-m", "study.run", *masked_arguments(given)])
        with stopped_at_once(), following_load():
            report = run(config, command=command, display=display)
    except KeyboardInterrupt as error:
        code = error.exit_code if isinstance(error, Interrupted) else 130
        return display.failed("interrupted: finished trials are kept; the same command goes on from here", code)
    except Exception as error:
        sentence = _for_the_user(error)
        if sentence is None:
            raise
        return display.failed(sentence, 2)
    display.finished(report)
    return 0


def description(given: Sequence[str]) -> str:
    """What --help says first: of the tool, and of the attack that is named beside it."""
    words = [word for each in given for word in each.split("=", 1)] + [""]
    named = [value for option, value in pairwise(words) if option == "--attack"]
    attack = named[-1] if named else StudyConfig.attack
    of_attack = attack_settings.describe_settings(attack) if attack in ATTACKS else ""
    return f"{inspect.cleandoc(StudyConfig.__doc__ or '')}\n\n{of_attack}"


def _for_the_user(error: Exception) -> str | None:
    """What a user can mend, in a sentence; None for a mistake of this program, and where nobody reads any more."""
    match error:
        case NadError() | ReportError():
            return str(error)
        case UpdateFinishedTrialError():
            return f"another process writes to this study's record ({error}); end it, then {_AGAIN}"
        case SQLAlchemyError() | OptunaError():
            reason = str(error.__cause__ or error).splitlines()[0]
            return f"the study's record cannot be written ({reason}); {_GO_ON}"
        case OSError() if not isinstance(error, BrokenPipeError):
            return f"{error.strerror or error} ({error.filename or 'no file'}); {_GO_ON}"
        case _ if out_of_memory(error):
            return f"there is not enough memory; run fewer --workers or a smaller --model, then {_AGAIN}"
    return None


_AGAIN = "run the same command again: finished trials are kept"
_GO_ON = f"mend that and {_AGAIN}"


def run(config: StudyConfig, *, command: str, display: Display) -> Path:
    """Run or resume a study, and return the path of its report.

    Raises: NadError or ReportError for what the user can mend; KeyboardInterrupt after the record was put in order.
    """
    started = time.monotonic()
    code.digest()  # taken now: files may change while a victim trains
    cache = cache_folder(config.cache)
    for what, path in (
        ("the output folder", config.directory),
        ("the cache folder", cache),
        ("the folder", Path.cwd()),
    ):
        require_unicode(what, str(path))
    require_devices(config)
    if config.tensorboard:
        tensorboard.require_installed()
    require_machine(config)
    config, source = read_victim(config, display)
    old = config.study_name if config.fork else fork_of(config.directory)
    config, earlier = _earlier_points(config, display)
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
            with session.ray_session(cpus=config.cpus):
                with clock.stage("teachers"):
                    workload = make_workload(config, scenario, victim, scenario.validation, origin)
                    wanted = [(workload.draw, fraction) for fraction in config.fractions]
                    workload = with_teachers({workload.draw: workload}, wanted, config, images, cache, display)[0]
                with recorded(folder, files):
                    bound = bound_of(victim, scenario, config.max_acc_drop)
                    with clock.stage("trials"):
                        trials.search(config, study, workload, bound, earlier, display, files, observe)
                    with clock.stage("baselines"):
                        baselines.search(config, study, workload, display, files.refresh)
                    product.make(config, study, scenario, bound, workload, folder, display)
                    if config.confirm:
                        product.write_card(folder, files.write())
                        build(folder.path)  # what comes may take long: there is something to look at
                        with clock.stage("confirmation"):
                            Confirmation(
                                config, study, scenario, victim, origin, images, cache, display, files.refresh
                            ).run()
            return build(folder.path)


@contextmanager
def recorded(folder: StudyFolder, files: StudyFiles) -> Iterator[None]:
    """The files are up to date at the end, however it comes; where it comes early, so is the page."""
    try:
        yield
    except BaseException:
        # What ended the study says more than what keeps these from being written; and before the first trial there is
        # nothing to report. They take seconds, unless the record does not answer.
        with suppress(Exception), stopped_by_the_second():
            product.write_card(folder, files.write())
            build(folder.path)
        raise
    product.write_card(folder, files.write())


def _earlier_points(config: StudyConfig, display: Display) -> tuple[StudyConfig, Sequence[EarlierPoint]]:
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
