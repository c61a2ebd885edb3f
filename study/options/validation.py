"""Checks of a study's options, in the order of their errors."""

from __future__ import annotations

import re

import search_spaces
from nad import models
from nad.attacks import ATTACKS
from nad.data import DATASETS
from nad.defences import DEFENCES, FineTuning
from nad.errors import ConfigError, require_range, unknown_name
from nad.precision import PRECISIONS
from reports.analysis.convergence import LEAST_SETTINGS
from study.options.engine import MOST_WORKERS, EngineOptions
from study.options.own_parts import require_own_parts
from study.options.record import RecordOptions
from study.options.search import SearchOptions
from study.options.storage_url import require_storage
from study.options.victim import VictimOptions

BASELINES = tuple(name for name in DEFENCES if name != FineTuning.name)
"""Defences to run beside the trials. Fine-tuning is itself a trial: the control with beta = 0."""

SAMPLERS = ("tpe", "gp", "nsga2", "quasi-random", "random")
"""Names of the samplers in `study.search.samplers`."""

_ADDRESS = re.compile(r"[^\s/:]+:\d{1,5}|\[[0-9A-Fa-f:.]+\]:\d{1,5}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def require_valid(victim: VictimOptions, search: SearchOptions, record: RecordOptions, engine: EngineOptions) -> None:
    """Raise ConfigError for the first option out of range, or in contradiction to another."""
    _require_known_names(victim, search, engine)
    _require_in_range(victim, search, engine)
    require_own_parts(victim)
    victim.normalisation  # noqa: B018 - raises for numbers out of range
    _require_fractions(search)
    _require_cluster(engine)
    _require_record(record)
    _require_end(search)


def _require_known_names(victim: VictimOptions, search: SearchOptions, engine: EngineOptions) -> None:
    for kind, name, known in (
        ("attack", victim.attack, ATTACKS),
        ("data set", victim.dataset, DATASETS),
        ("search space", search.space, search_spaces.SPACES),
        ("sampler", search.sampler, SAMPLERS),
        ("precision", engine.precision, ("auto", *PRECISIONS)),
    ):
        if name not in known:
            raise unknown_name(kind, name, known)
    for name in (victim.architecture, victim.teacher_architecture):
        models.require_name(name)
    victim.attack_settings  # noqa: B018 - raises for a text in another form than NAME=VALUE
    for name in search.portfolio_without:
        if name not in ATTACKS:
            raise unknown_name("attack", name, ATTACKS)
    for name in search.baselines:
        if name not in BASELINES:
            raise unknown_name("baseline", name, BASELINES)


def _require_in_range(victim: VictimOptions, search: SearchOptions, engine: EngineOptions) -> None:
    if victim.poison_rate is not None:
        _require_share("--poison-rate", victim.poison_rate, low_open=True)
    require_range("--image-size", victim.used_image_size, 16, 512)
    require_range("--target", victim.target, 0, 1_000_000)
    require_range("--victim-epochs", victim.victim_epochs, 1, 1000)
    require_range("--trials", search.trials, 1, 1_000_000)
    require_range("--confirm", search.confirm, 0, 1000)
    _require_share("--max-acc-drop", search.max_acc_drop)
    require_range("--seed", search.seed, 0, 2**31 - 1)
    require_range("--cpus-per-trial", engine.cpus_per_trial, 1, 4096)
    try:
        require_range("--gpus-per-trial", engine.gpus_per_trial, 0.0, 1.0)
    except ConfigError as error:
        raise ConfigError(f"{error}; a trial computes on one GPU: give 1, or a share of it such as 0.25") from error


def _require_share(option: str, value: float, *, low_open: bool = False) -> None:
    """Raise ConfigError for a value outside [0, 1]; for a percentage, suggest the share."""
    if 1.0 < value <= 100.0:
        bracket = "(" if low_open else "["
        raise ConfigError(
            f"{option} must be in {bracket}0, 1], got {value:g}; write {value / 100:g} if you mean {value:g}%"
        )
    require_range(option, value, 0.0, 1.0, low_open=low_open)


def _require_fractions(search: SearchOptions) -> None:
    if search.clean_fractions == ():
        raise ConfigError("--clean-fractions needs at least one share, such as 0.05; the space has its own without it")
    for fraction in search.fractions:
        _require_share("--clean-fractions", fraction, low_open=True)
    if search.baseline_fractions is None:
        return
    if not search.baselines or not search.baseline_fractions:
        raise ConfigError(
            "--baseline-fractions gives the shares, such as 0.05, for the defences named with --baselines; give both,"
            " or neither"
        )
    for fraction in search.baseline_fractions:
        if fraction not in search.fractions:
            known = ", ".join(f"{known:g}" for known in search.fractions)
            raise ConfigError(
                f"--baseline-fractions {fraction:g} is none of the study's clean fractions: give one of {known}"
            )


def _require_cluster(engine: EngineOptions) -> None:
    if engine.workers is not None:
        require_range("--workers", engine.workers, 1, MOST_WORKERS)
    if engine.address is not None and engine.address != "auto" and not _ADDRESS.fullmatch(engine.address):
        raise ConfigError(f"--address {engine.address!r} must be auto, or HOST:PORT such as 10.0.0.5:6379")
    if engine.wait_for_nodes is not None and engine.address is None:
        raise ConfigError("--wait-for-nodes waits for a cluster's nodes; name the cluster with --address")
    engine.wait_seconds  # noqa: B018 - raises for a text that is no duration


def _require_record(record: RecordOptions) -> None:
    for option, given in (("--name", record.name), ("--fork", record.fork)):
        if given is not None and not _NAME.fullmatch(given):
            raise ConfigError(f"{option} {given!r} must be letters, digits, dots, dashes and underscores, at most 100")
    if record.storage is not None:
        require_storage(record.storage)


def _require_end(search: SearchOptions) -> None:
    if search.until_converged and search.trials <= LEAST_SETTINGS:
        raise ConfigError(
            f"--until-converged cannot stop a study before {LEAST_SETTINGS} trials are complete, and --trials"
            f" {search.trials} ends it by then; give a higher limit, such as --trials 200"
        )
    search.budget_seconds  # noqa: B018 - raises for a text that is no duration
    search.trial_seconds  # noqa: B018 - likewise
