"""`python -m study.run`: command line, order of the parts, and one-sentence errors."""

from __future__ import annotations

import inspect
import os
import shlex
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import tyro
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from sqlalchemy.exc import SQLAlchemyError

from nad.attacks import ATTACKS
from nad.attacks.picture import save_picture
from nad.devices import out_of_memory
from nad.errors import ConfigError, NadError
from nad.formats import ForeignModel
from nad.scenario import Scenario
from nad.seeds import generator
from nad.threads import following_load
from reports.build import ReportError, build
from reports.streams import show_any_text
from study.display.events import display_for
from study.display.observers import observers
from study.display.progress import Display
from study.display.tensorboard import require_installed
from study.engine import code, session
from study.engine.devices import require_devices
from study.engine.machine import require_machine
from study.options import attack_settings
from study.options.command_line import one_line_errors, require_unicode
from study.options.config import StudyConfig
from study.options.engine import EngineOptions
from study.options.storage_url import masked_arguments
from study.options.victim import VictimOptions
from study.record import provenance
from study.record.clock import Clock
from study.record.energy import EnergyMeter
from study.record.files import StudyFiles
from study.record.folder import cache_folder, open_folder
from study.record.opening import open_record
from study.record.provenance import Source
from study.search.fork import FORK_OF, fork, fork_of
from study.search.warm_start import WARM_START, Earlier, best_of
from study.signals import Interrupted, read_to_the_end, stopped_at_once
from study.stages import baselines
from study.stages.cluster import on_cluster
from study.stages.own_teacher import accept_teacher, read_teacher
from study.stages.preparation import PICTURES, Preparation, require_models
from study.stages.sequence import Stages
from study.stages.summary import Summary
from study.stages.teachers import ready_origin, victim_digests
from study.stages.victim_file import read_victim, require_classes


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, 2 for a user's mistake, 130 for Ctrl-C, 143 for SIGTERM."""
    show_any_text()
    given = list(sys.argv[1:] if arguments is None else arguments)
    display = display_for(given)
    os.umask(0o077)  # a study's files are private
    try:
        with one_line_errors(StudyConfig, given):
            config = tyro.cli(StudyConfig, args=given, prog="nad-study", description=description(given))
        command = shlex.join(["python", "-m", "study.run", *masked_arguments(given)])
        with stopped_at_once(), following_load():
            report = run(config, command=command, display=display)
    except KeyboardInterrupt as error:
        code = error.exit_code if isinstance(error, Interrupted) else 130
        return display.failed("interrupted: finished trials are kept; the same command goes on from here", code)
    except Exception as error:
        sentence = _sentence_of(error)
        if sentence is None:
            raise
        return display.failed(sentence, 2)
    display.finished(report)
    return 0


def description(given: Sequence[str]) -> str:
    """The head of --help: the tool, and the attack named in the command."""
    words = [word for each in given for word in each.split("=", 1)] + [""]
    named = [value for option, value in pairwise(words) if option == "--attack"]
    attack = named[-1] if named else VictimOptions.attack
    of_attack = attack_settings.describe_settings(attack) if attack in ATTACKS else ""
    return f"{inspect.cleandoc(StudyConfig.__doc__ or '')}\n\n{of_attack}"


def _sentence_of(error: Exception) -> str | None:
    """The sentence for a user's mistake; None for a fault of this program, and for a broken pipe."""
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

    Raises: NadError or ReportError for a user's mistake; KeyboardInterrupt after putting the record in order.
    """
    started = time.monotonic()
    code.digest()  # taken now: files may change while a victim trains
    cache = cache_folder(config.record.cache)
    _require_environment(config.engine, config.directory, cache, tensorboard=config.record.tensorboard)
    config, source, teacher = _read_models(config, display)
    old = config.study_name if config.record.fork else fork_of(config.directory)
    config, earlier = _earlier_points(config)
    preparation, options = Preparation(config, cache, display, ready_origin(teacher)), config.search
    config.victim.made_attack  # noqa: B018 - raises for settings out of range, before there is a folder
    with (
        open_folder(config.directory) as folder,
        observers(config.study_name, options.trials, folder, display, tensorboard=config.record.tensorboard) as observe,
    ):
        scenario = preparation.load_scenario()
        _require_fit(config, scenario, source)
        accept_teacher(teacher, config, scenario, display)
        with open_record(config.record, options, folder, display.say) as study, on_cluster(config.engine, display):
            identity = provenance.identity(config, scenario, source, teacher)
            started_with = {"command": command, "directory": os.getcwd(), "settings": config.shown(), FORK_OF: old}
            provenance.claim(folder, study, started_with, identity)
            scenario = preparation.prepare_attack(scenario, source)
            images = scenario.sample(PICTURES).images
            save_picture(folder.picture, scenario.attack, images, generator(options.seed, "picture"))
            victim, origin = preparation.prepare_victims(scenario, source)
            provenance.require_same_victims(study, victim_digests(victim, origin))
            provenance.record_identity(study, identity)
            clock = Clock(study, started)
            clock.set("victim", victim.seconds)
            summary = Summary(config, study, scenario, victim, command, clock, EnergyMeter(study))
            files, fingerprint = StudyFiles(folder, study, summary.bound, summary.read), str(identity["images"])
            with session.ray_session(cpus=config.engine.cpus):
                Stages(
                    preparation, study, folder, files, clock, scenario, victim, origin, fingerprint, summary.bound
                ).run(earlier, observe)
            return build(folder.path)


def _require_environment(engine: EngineOptions, output: Path, cache: Path, *, tensorboard: bool) -> None:
    """Raise ConfigError for folders, devices, packages or a machine unfit for the study."""
    for what, path in (("the output folder", output), ("the cache folder", cache), ("the folder", Path.cwd())):
        require_unicode(what, str(path))
    encoding, names = sys.getfilesystemencoding(), (*sys.argv, str(output), str(cache), os.getcwd())
    if encoding != "utf-8" and not all(name.isascii() for name in names):
        raise ConfigError(f"Ray reads names as UTF-8, this process as {encoding}; set PYTHONUTF8=1 and run this again")
    require_devices(engine)
    if tensorboard:
        require_installed()
    require_machine(engine)


def _read_models(config: StudyConfig, display: Display) -> tuple[StudyConfig, Source, ForeignModel | None]:
    """The settings with the victim's architecture, the victim's source, and the teacher of --teacher."""
    config, source = read_victim(config, display)
    return config, source, read_teacher(config, source, display)


def _require_fit(config: StudyConfig, scenario: Scenario, source: Source) -> None:
    """Raise NadError for a victim, an architecture or a defence unfit for these images."""
    options = config.victim
    require_classes(source, scenario)
    require_models(options, scenario)
    baselines.require_fit(config.search.baselines, options.architecture, scenario.dataset.classes)


def _earlier_points(config: StudyConfig) -> tuple[StudyConfig, Sequence[Earlier]]:
    """The config to run and the candidates of --fork and --warm-start.

    Raises: ConfigError for a missing study or folder.
    """
    points: list[Earlier] = []
    if config.record.fork:
        old = config.study_name
        config, found = fork(config)
        points.append((f"fork: settings of the study {old!r}", found))
    if config.search.warm_start:
        points.append((WARM_START, best_of(config.search.warm_start, config.directory)))
    return config, points


if __name__ == "__main__":
    with read_to_the_end():
        sys.exit(main())
