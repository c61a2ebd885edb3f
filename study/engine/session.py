"""Starting, joining and leaving Ray; no other file does.

A joined cluster belongs to others: it is left running, with its own network settings.
Embedded Ray listens on the loopback interface only, asks for a token known to this process and its children, and has
no dashboard and no telemetry. All its files are in one private folder, removed with the session.
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
"""A proxy address without a server."""
_NO_NETWORK: dict[str, str | None] = {
    name: None for proxy in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for name in (proxy, proxy.upper())
} | dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), _NOWHERE)
"""Ray asks three clouds' metadata services for its location, even without usage statistics."""

_NO_ROOM = (ObjectStoreFullError, OutOfDiskError, OutOfMemoryError)


@contextmanager
def ray_session(*, cpus: int) -> Iterator[None]:
    """Start Ray inside this process, with all GPUs, or reuse a running one.

    Raises: NadError if Ray would be reachable from other machines, and in place of Ray's errors in the block.
    """
    if ray.is_initialized():
        with _one_line_errors():
            yield
        return
    with (
        _one_line_errors(),
        scratch_folder(temporary_base()) as folder,
        _ray_environment(
            RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # loopback only; checked below
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN=secrets.token_hex(32),  # never a cluster's token: others know it
            RAY_USAGE_STATS_ENABLED="0",
            **_NO_NETWORK,
        ),
    ):
        with handlers_kept(), deaf_to_hangups(), _one_line_start(folder):
            ray.init(
                address="local",  # ignores a stale address file
                num_cpus=cpus,
                include_dashboard=False,
                configure_logging=False,
                log_to_driver=False,
                job_config=_SamePath(),
                _temp_dir=str(folder / "r"),  # Ray opens its folder to everybody; the outer one stays private
            )
        if ray.util.get_node_ip_address() != "127.0.0.1":  # type: ignore[no-untyped-call]
            raise NadError(
                "Ray would listen on the network: this version was not tested; install the one in requirements.lock"
            )
        _require_same_code()
        yield


class _SamePath(JobConfig):
    """Import paths of this process for its workers, in the same order."""

    def __init__(self) -> None:
        folders = [os.path.abspath(entry) for entry in sys.path]
        super().__init__(_py_driver_sys_path=folders[::-1])  # each is put first

    def _runtime_env_has_working_dir(self) -> bool:
        """True, or Ray would import from the current folder first."""
        return True


def _require_same_code() -> None:
    """Raise NadError if workers import other files than this process."""
    there = ray.get(ray.remote(num_cpus=0)(code.imported).remote())
    if others := code.differences(there, code.imported()):
        raise NadError(
            f"the study's processes import {others}; move those away, or, if you have just edited them, run the same"
            " command again"
        )


@contextmanager
def cluster_session(cluster: Cluster, modules: Sequence[str] = PACKAGES) -> Iterator[None]:
    """Join a running Ray cluster, and leave it running at the end.

    modules: packages and modules sent to its nodes; all others must be installed there.
    Raises: ConfigError if Ray cannot join it, with its reason; NadError in place of Ray's errors in the block.
    """
    mode = "token" if cluster.authenticated else "disabled"
    # Without a working_dir, Ray would put the current folder first on the workers' path: elsewhere perhaps an older
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
                f"cannot join the Ray cluster at {cluster.address}: {reason}; install the same Ray and Python here"
                " as on its nodes"
            ) from error
        with _one_line_errors():
            yield


def _source_of(module: str) -> str:
    """The folder of a package or the file of a module."""
    found = importlib.import_module(module).__file__
    if found is None:
        raise NadError(f"the package {module} has no folder to send to the nodes; install it there")
    path = Path(found)
    return str(path.parent if path.name == "__init__.py" else path)


@contextmanager
def _ray_environment(**settings: str | None) -> Iterator[None]:
    """Set environment variables, or unset for None, for Ray and its children; leave Ray at the end."""
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
    """Have Ray read its import-time variables again, for starting or joining."""
    ray_constants.ENABLE_RAY_CLUSTER = os.environ.get(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "1") == "1"
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn Ray's own errors into NadError, one sentence."""
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
def _one_line_start(folder: Path) -> Iterator[None]:
    """Turn a failed start into NadError with Ray's reason and the usual causes."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise _not_started(folder, error) from error
    except Exception as error:
        if type(error) is not Exception:  # Ray's error for a process that does not come up
            raise
        raise _not_started(folder, error) from error


def _not_started(folder: Path, error: Exception) -> NadError:
    free = shutil.disk_usage(folder).free / 2**20
    said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return NadError(
        f"Ray did not start: {said}; it needs free processes, open files, memory, and 50 MB on the disk of"
        f" {folder.parent} ({free:.0f} MB left); docs/running.md has the amounts"
    )
