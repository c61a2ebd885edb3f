"""The only file that starts, joins or leaves Ray; `tasks` beside it and `study.engine.tune` run what runs there.

A cluster that is joined belongs to others: it is left running, and nothing here sets how it listens or whom it trusts.
Embedded Ray listens on the loopback interface only, asks for a token that only this process and its children hold,
and has no dashboard, no telemetry and no files outside one private folder, which goes when the session ends.
"""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import ray
from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.exceptions import ObjectStoreFullError, OutOfDiskError, OutOfMemoryError, RayError
from ray.job_config import JobConfig

from nad.errors import ConfigError, NadError
from study.engine import code
from study.engine.address import Cluster
from study.engine.code import PACKAGES
from study.engine.scratch import scratch_folder, temporary_base
from study.signals import deaf_to_hangups, handlers_kept

_NOWHERE = "http://127.0.0.1:9"
"""A proxy on this machine where nobody listens."""
_NO_NETWORK: dict[str, str | None] = {
    name: None for proxy in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for name in (proxy, proxy.upper())
} | dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), _NOWHERE)
"""Ray asks the metadata services of three clouds where it is, usage statistics or not."""

_NO_ROOM = (ObjectStoreFullError, OutOfDiskError, OutOfMemoryError)


@contextmanager
def ray_session(*, cpus: int) -> Iterator[None]:
    """Start Ray inside this process with so many CPUs, and stop it at the end; a Ray that already runs is used.

    GPUs are those that Ray finds.
    Raises: NadError if Ray would be reachable from other machines, and in place of what Ray raises in the block.
    """
    if ray.is_initialized():
        with _told_in_a_sentence():
            yield
        return
    with (
        _told_in_a_sentence(),
        scratch_folder(temporary_base()) as folder,
        _ray_environment(
            RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # loopback only; checked below
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN=secrets.token_hex(32),  # never that of a cluster, which others hold
            RAY_USAGE_STATS_ENABLED="0",
            **_NO_NETWORK,
        ),
    ):
        with handlers_kept(), deaf_to_hangups(), _start_or_say_why(folder):
            ray.init(
                address="local",  # never what a stale address file names
                num_cpus=cpus,
                include_dashboard=False,
                configure_logging=False,
                log_to_driver=False,
                job_config=_SamePath(),
                _temp_dir=str(folder / "r"),  # Ray opens its folder to everybody; the one around it stays private
            )
        if ray.util.get_node_ip_address() != "127.0.0.1":  # type: ignore[no-untyped-call]
            raise NadError("Ray would listen on the network; this version of it is not the one that was tested")
        _require_same_code()
        yield


class _SamePath(JobConfig):
    """Workers import from where this process does, in the same order."""

    def __init__(self) -> None:
        folders = [os.path.abspath(entry) for entry in sys.path]
        super().__init__(_py_driver_sys_path=folders[::-1])  # each is put first

    def _runtime_env_has_working_dir(self) -> bool:
        """Without one, Ray would put the current folder first, where another checkout or a numpy.py may lie."""
        return True


def _require_same_code() -> None:
    """Raise NadError where workers import other files than this process."""
    there = ray.get(ray.remote(num_cpus=0)(code.imported).remote())
    if others := code.differences(there, code.imported()):
        raise NadError(
            f"the study's processes import {others}; move those away, or where they"
            " were changed just now, run the same command again"
        )


@contextmanager
def cluster_session(cluster: Cluster, modules: Sequence[str] = PACKAGES) -> Iterator[None]:
    """Join a running Ray cluster, and leave it running at the end.

    modules: packages and modules that travel to its nodes from here; all else that tasks import is installed there.
    Raises: ConfigError if Ray cannot join it, with its reason; NadError in place of what Ray raises in the block.
    """
    mode = "token" if cluster.authenticated else "disabled"
    # Without a working_dir, Ray would put this one first on the path of workers: on another node, it may be an older
    # checkout.
    with _ray_environment(RAY_AUTH_MODE=mode), scratch_folder(temporary_base()) as folder:
        empty = folder / "empty"
        empty.mkdir()
        try:
            with handlers_kept():
                ray.init(
                    address=cluster.address,
                    configure_logging=False,
                    log_to_driver=False,
                    runtime_env={
                        "working_dir": str(empty),
                        "py_modules": [_source_of(module) for module in modules],
                        "excludes": ["__pycache__"],
                        "env_vars": {name: os.environ[name] for name in ("MALLOC_ARENA_MAX", "RAY_CHDIR_TO_TRIAL_DIR")},
                    },
                )
        except (RayError, ConnectionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error.__cause__ or error).split()).rstrip(".")
            raise ConfigError(
                f"cannot join the Ray cluster at {cluster.address}: {reason}; it takes the same Ray and Python as on"
                " its nodes"
            ) from error
        with _told_in_a_sentence():
            yield


def _source_of(module: str) -> str:
    """The folder of a package or the file of a module, wherever it is imported from."""
    found = importlib.import_module(module).__file__
    if found is None:
        raise NadError(f"the package {module} has no folder that could travel")
    path = Path(found)
    return str(path.parent if path.name == "__init__.py" else path)


@contextmanager
def _ray_environment(**settings: str | None) -> Iterator[None]:
    """These environment variables, for Ray in this process and for what it starts; Ray is left at the end.

    None: the variable is not set.
    """
    before = {name: os.environ.get(name) for name in settings}
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    _set_environment(settings)
    _read_environment_again()
    try:
        yield
    finally:
        ray.shutdown()
        _set_environment(before)
        _read_environment_again()


def _set_environment(settings: Mapping[str, str | None]) -> None:
    for name, value in settings.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _read_environment_again() -> None:
    """Ray reads these when it is imported, which is before anybody knows whether it will be started or joined."""
    ray_constants.ENABLE_RAY_CLUSTER = os.environ.get(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "1") == "1"
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _told_in_a_sentence() -> Iterator[None]:
    """Raises: NadError for whatever Ray raises and nobody has put into words."""
    try:
        yield
    except RayError as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        remedy = "free some memory and disk space" if isinstance(error, _NO_ROOM) else "mend that"
        raise NadError(
            f"Ray failed ({type(error).__name__}: {reason}); {remedy}, and run the same command again: finished trials"
            " are kept"
        ) from error


@contextmanager
def _start_or_say_why(folder: Path) -> Iterator[None]:
    """Raises: NadError with what Ray says, and what is wrong more often than it knows."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise _not_started(folder, error) from error
    except Exception as error:
        if type(error) is not Exception:  # what Ray raises where one of its processes does not come up
            raise
        raise _not_started(folder, error) from error


def _not_started(folder: Path, error: Exception) -> NadError:
    free = shutil.disk_usage(folder).free / 2**20
    said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return NadError(
        f"Ray did not start: {said}; it needs free processes, open files, memory, and 50 MB on the disk of"
        f" {folder.parent}, which has {free:.0f} MB left: docs/running.md says how much of each"
    )
