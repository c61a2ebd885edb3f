"""The only file that starts, joins or leaves Ray; tasks run from here, trials from `study.tuning`.

What runs on Ray is written without Ray: a task is `function(argument, payload) -> result`. It travels by reference: it
lives in a module that workers can import.

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
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.update(
    {
        # drops the worker deaths that Ray prints: the record has them; read when Ray is imported
        "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
        "RAY_AIR_NEW_OUTPUT": "0",  # verbose=0 still prints boxes in the new output
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the study's storage is the record; no CSV, JSON, TensorBoard
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it swallows Ctrl-C and waits up to 15 s for running trials
        "TUNE_GLOBAL_CHECKPOINT_S": "inf",  # nothing is ever restored from Tune's own state
        "TUNE_STATE_REFRESH_PERIOD": "3600",  # it asks the head for its resources, and waits where that is lost
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    }
)
os.environ.setdefault("MALLOC_ARENA_MAX", "1")  # glibc: the threads of past trials would keep their freed memory

import ray
from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.exceptions import RayError, RayTaskError

from nad.errors import ConfigError, NadError
from study.cluster.address import Cluster
from study.lifeline import PERIOD, Lifeline
from study.losses import lost_process
from study.scratch import scratch_folder
from study.signals import deaf_to_hangups

TaskFunction = Callable[[Any, Any], Any]

PACKAGES = ("nad", "search_spaces", "study", "reports")
"""What travels to the nodes of a cluster."""

_NOWHERE = "http://127.0.0.1:9"
"""A proxy on this machine where nobody listens."""

_LONGEST_TMP = 22  # characters: Ray's sockets add 83 to the path, and the kernel allows 107


@contextmanager
def ray_session(*, cpus: int) -> Iterator[None]:
    """Start Ray inside this process with so many CPUs, and stop it at the end; a Ray that already runs is used.

    GPUs are those that Ray finds.  Raises: NadError if Ray would be reachable from other machines.
    """
    if ray.is_initialized():
        yield
        return
    base = tempfile.gettempdir()
    with (
        scratch_folder(Path(base if len(base) <= _LONGEST_TMP else "/tmp")) as folder,  # noqa: S108 - private
        _ray_environment(
            RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # loopback only; checked below
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN=os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32),
            RAY_USAGE_STATS_ENABLED="0",
            http_proxy=_NOWHERE,  # Ray asks the metadata services of three clouds where it is, usage statistics or not
        ),
    ):
        with deaf_to_hangups(), _start_or_say_why(folder):
            ray.init(
                address="local",  # never what a stale address file names
                num_cpus=cpus,
                include_dashboard=False,
                configure_logging=False,
                log_to_driver=False,
                _temp_dir=str(folder / "r"),  # Ray opens its folder to everybody; the one around it stays private
            )
        if ray.util.get_node_ip_address() != "127.0.0.1":  # type: ignore[no-untyped-call]
            raise NadError("Ray would listen on the network; this version of it is not the one that was tested")
        yield


@contextmanager
def cluster_session(cluster: Cluster, modules: Sequence[str] = PACKAGES) -> Iterator[None]:
    """Join a running Ray cluster, and leave it running at the end.

    modules: packages and modules that travel to its nodes from here; all else that tasks import is installed there.
    Raises: ConfigError if Ray cannot join it, with its reason.
    """
    mode = "token" if cluster.authenticated else "disabled"
    # Without a working_dir, Ray would put this one first on the path of workers: on another node, it may be an older
    # checkout.
    with _ray_environment(RAY_AUTH_MODE=mode), tempfile.TemporaryDirectory(prefix="nad-") as empty:
        try:
            ray.init(
                address=cluster.address,
                configure_logging=False,
                log_to_driver=False,
                runtime_env={
                    "working_dir": empty,
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
        yield


def _source_of(module: str) -> str:
    """The folder of a package or the file of a module, wherever it is imported from."""
    found = importlib.import_module(module).__file__
    if found is None:
        raise NadError(f"the package {module} has no folder that could travel")
    path = Path(found)
    return str(path.parent if path.name == "__init__.py" else path)


@contextmanager
def _ray_environment(**settings: str) -> Iterator[None]:
    """These environment variables, for Ray in this process and for what it starts; it is left at the end."""
    before = {name: os.environ.get(name) for name in settings}
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    os.environ.update(settings)
    _read_environment_again()
    try:
        yield
    finally:
        ray.shutdown()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        _read_environment_again()


def _read_environment_again() -> None:
    """Ray reads these when it is imported, which is before anybody knows whether it will be started or joined."""
    ray_constants.ENABLE_RAY_CLUSTER = os.environ.get(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "1") == "1"
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _start_or_say_why(folder: Path) -> Iterator[None]:
    """Raises: NadError with what Ray says, and what is wrong more often than it knows."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise _not_started(folder, error) from error
    except Exception as error:
        if type(error) is not Exception:  # what Ray raises where one of its processes does not come up
            raise
        raise _not_started(folder, error) from error


def _not_started(folder: Path, error: Exception) -> NadError:
    free = shutil.disk_usage(folder).free / 2**20
    return NadError(
        f"Ray did not start: {str(error).strip().splitlines()[0]} The disk of its temporary folder {folder.parent} has"
        f" {free:.0f} MB left, and Ray wants 50; free some space, or name another folder in TMPDIR"
    )


def available_slots(cpus: float, gpus: float = 0.0) -> int:
    """How many trials or tasks of this size the nodes hold at once.

    Raises: ConfigError if no node can hold one: it would wait for ever.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    slots = sum(_slots_of(node, cpus, gpus) for node in nodes)
    if slots == 0:
        most = [f"{max((node.get(kind, 0) for node in nodes), default=0):g} {kind}s" for kind in ("CPU", "GPU")]
        raise ConfigError(
            f"a trial asks for {cpus:g} CPUs and {gpus:g} GPUs, but Ray's largest node has {' and '.join(most)}; "
            "lower --cpus-per-trial or --gpus-per-trial"
        )
    return slots


def _slots_of(node: Mapping[str, float], cpus: float, gpus: float) -> int:
    # the small term: 0.1 of a GPU fits ten times, in spite of rounding
    return int(min(node.get(kind, 0) / size + 1e-9 for kind, size in (("CPU", cpus), ("GPU", gpus)) if size))


def granted_device() -> str:
    """The device of this task or trial, in torch's words: a GPU only where Ray granted one.

    A trial without one may still see the GPUs of its node; it must not use them. On a GPU that it shares, this process
    is held to its share of the memory: one that needs more fails by itself, instead of making the others fail.
    """
    if not ray.is_initialized() or not ray.get_gpu_ids():
        return "cpu"
    import torch  # late: the engine knows nothing of models

    share = ray.get_runtime_context().get_assigned_resources().get("GPU", 1.0)  # type: ignore[no-untyped-call]
    torch.cuda.set_per_process_memory_fraction(min(share, 1.0), 0)
    return "cuda:0"


def run_tasks(
    function: TaskFunction,
    arguments: Sequence[Any],
    *,
    payload: Any = None,
    cpus: float = 1,
    gpus: float = 0.0,
    on_done: Callable[[int, Any], None] | None = None,
) -> list[Any]:
    """Run function(argument, payload) for every argument, in parallel; results in the arguments' order.

    payload: goes into the object store once; numpy arrays in it are shared and read-only.
    on_done: called with the index and the result of each task as it ends.
    Raises: what the first failing task raised, after stopping the others; NadError if a worker process died.
    """
    available_slots(cpus, gpus)
    shared = ray.put(payload)
    task = ray.remote(num_cpus=cpus, num_gpus=gpus)(function)
    indices = {task.remote(argument, shared): index for index, argument in enumerate(arguments)}
    results: list[Any] = [None] * len(arguments)
    pending = list(indices)
    lifeline = Lifeline()
    try:
        while pending:
            ended, pending = ray.wait(pending, timeout=PERIOD)
            lifeline.check()
            for done in ended:
                results[indices[done]] = fetch(done)
                if on_done is not None:
                    on_done(indices[done], results[indices[done]])
    except BaseException:
        for left in pending:
            ray.cancel(left, force=True)
        raise
    return results


def fetch(reference: ray.ObjectRef[Any]) -> Any:
    """What a task returned.  Raises: what it raised; NadError if its worker process died."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from error  # the cause has the type and the text, the wrapper the remote traceback
    except RayError as error:
        raise NadError(f"a worker process was lost: {lost_process(str(error))}; run the same command again") from error
