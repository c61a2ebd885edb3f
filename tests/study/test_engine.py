"""The engine with real Ray and a real SQLite file. Everything that workers call is at this module's top level."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from nad.errors import ConfigError, EraseDiverged, NadError
from study import engine
from study.search import OptunaSearcher, TrialEvent, enqueue
from study.storage import open_study

METRICS = ("asr", "acc")
DIRECTIONS = ("minimize", "maximize")
SLOTS = 2
IMPORTABLE = os.pathsep.join(path for path in sys.path if path)  # workers import this module, too


# what runs in workers


def toy(config: Mapping[str, Any], payload: Mapping[str, Any], report: engine.Report) -> None:
    """Scores at once, or fails in the way that the payload plans for this trial number."""
    plan = payload["plan"].get(config["number"], "score")
    x = config["params"]["x"]
    scores = {"asr": x, "acc": 1 - x * x}
    if plan == "raise":
        raise ValueError("this trial's own mistake")
    if plan == "diverge":
        raise EraseDiverged("the loss is no longer finite in epoch 2")
    if plan == "die":
        os._exit(1)
    if plan == "return":
        return
    report({"epoch": 1, **scores})
    if plan == "nan":
        scores["acc"] = float("nan")
    threads = int(os.environ["OMP_NUM_THREADS"])
    report({"final": True, **scores, "pid": os.getpid(), "threads": threads, "folder": os.getcwd()})


def slow(config: Mapping[str, Any], payload: Any, report: engine.Report) -> None:
    """The first ones score, the others take for ever."""
    toy(config, {"plan": {}}, report) if config["number"] < payload else time.sleep(600)


def meet(config: Mapping[str, Any], payload: Path, report: engine.Report) -> None:
    """Ends when a second trial has come."""
    (payload / str(config["number"])).touch()
    while len(list(payload.iterdir())) < 2:
        time.sleep(0.05)
    toy(config, {"plan": {}}, report)


def square(number: int, payload: Mapping[str, Any]) -> tuple[int, bool]:
    time.sleep(0.2 if number == 0 else 0.0)  # the first ends last
    return number**2 + int(payload["zeros"].sum()), payload["zeros"].flags.writeable


def die(number: int, payload: Any) -> None:
    os._exit(1)


def diverge(number: int, payload: Any) -> None:
    if number:
        raise EraseDiverged(f"teacher {number} diverged")


def space(trial: optuna.Trial) -> dict[str, Any]:
    return {"x": trial.suggest_float("x", 0.0, 1.0)}


# the driver


def open_toy(folder: Path) -> optuna.study.Study:
    return open_study(f"sqlite:///{folder}/study.db", "toy", "random", 0, DIRECTIONS)


def searcher_of(study: optuna.study.Study, wanted: int, **settings: Any) -> OptunaSearcher:
    return OptunaSearcher(study, settings.pop("space", space), METRICS, wanted, **{"seed": 0, **settings})


def drive(folder: Path) -> None:
    """A whole driver process: three trials score, the next two run until somebody ends this."""
    study = open_toy(folder)
    enqueue(study, {"x": 0.5}, {"control": "fine-tuning"})
    with engine.ray_session(cpus=SLOTS):
        engine.run_trials(slow, searcher_of(study, wanted=8), payload=3, slots=SLOTS)


def states(study: optuna.study.Study) -> dict[str, int]:
    return dict(Counter(trial.state.name for trial in study.trials))


@pytest.fixture(scope="module")
def ray_started() -> Iterator[None]:
    start = time.perf_counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", IMPORTABLE)
        with engine.ray_session(cpus=SLOTS):
            print(f"\nRay started in {time.perf_counter() - start:.1f} s")
            yield


class Ran:
    """A study of 12 wanted trials, some of which fail, each in its own way."""

    def __init__(self, folder: Path) -> None:
        self.plan = {1: "nan", 2: "raise", 3: "return", 4: "diverge", 5: "die"}
        self.study = open_toy(folder)
        self.complete_at: list[float] = []
        searcher = searcher_of(self.study, wanted=12, on_event=self.observe)
        big = np.zeros((20_000, 3, 32, 32), dtype=np.uint8)
        self.start = time.perf_counter()
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            engine.run_trials(toy, searcher, payload={"plan": self.plan, "images": big}, slots=SLOTS)
        self.printed = printed.getvalue()
        self.trials = self.study.trials

    def observe(self, event: TrialEvent) -> None:
        if event.kind == "complete":
            self.complete_at.append(time.perf_counter())


@pytest.fixture(scope="module")
def ran(ray_started: None, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("ran"))


def test_wanted_number_is_complete_despite_failures(ran: Ran) -> None:
    assert states(ran.study) == {"COMPLETE": 12, "FAIL": 5}


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ("nan", "the final report is not finite: acc = nan"),
        ("raise", "ValueError: this trial's own mistake"),
        ("return", "the trial returned without a final report"),
        ("diverge", "the loss is no longer finite in epoch 2"),
        ("die", "The actor died unexpectedly"),
    ],
)
def test_failure_is_recorded_with_its_reason(ran: Ran, plan: str, reason: str) -> None:
    (number,) = (number for number, name in ran.plan.items() if name == plan)
    trial = ran.trials[number]
    assert trial.state.name == "FAIL"
    assert trial.user_attrs["error"].startswith(reason)
    assert ("in toy" in trial.user_attrs.get("traceback", "")) == (plan == "raise")


def test_point_of_a_killed_worker_runs_again(ran: Ran) -> None:
    (again,) = (trial for trial in ran.trials if trial.user_attrs.get("retry"))
    assert again.state.name == "COMPLETE"
    assert again.params == ran.trials[5].params
    assert again.user_attrs["seed"] == ran.trials[5].user_attrs["seed"]


def test_trial_is_one_thread_in_the_drivers_folder(ran: Ran) -> None:
    attrs = ran.trials[-1].user_attrs
    assert attrs["threads"] == 1
    assert attrs["folder"] == os.getcwd()
    assert attrs["curve"][0]["epoch"] == 1
    assert attrs["host"]


def test_engine_prints_nothing_even_when_trials_fail(ran: Ran) -> None:
    assert ran.printed == ""


def test_worker_processes_are_reused(ran: Ran) -> None:
    complete = [trial.user_attrs["pid"] for trial in ran.trials if trial.state.name == "COMPLETE"]
    assert len(set(complete)) <= 1 + SLOTS + 2, "two trials cost their process; the rest share theirs"
    gaps = np.diff(ran.complete_at)
    print(
        f"\nfirst trial after {ran.complete_at[0] - ran.start:.1f} s; median overhead per trial {np.median(gaps):.3f} s"
    )
    assert np.median(gaps) < 1.5, "a new process per trial takes longer"


def test_as_many_trials_run_at_once_as_there_are_processors_and_the_budget_keeps_them(
    ray_started: None, tmp_path: Path
) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    study = open_toy(tmp_path)
    searcher = searcher_of(study, wanted=60, deadline=time.monotonic() + 1)  # over before a worker has started
    engine.run_trials(meet, searcher, payload=meeting, slots=9)
    assert states(study) == {"COMPLETE": SLOTS}


def test_interrupt_stops_at_once_and_leaves_the_record_in_order(ray_started: None, tmp_path: Path) -> None:
    study = open_toy(tmp_path)
    sent = []

    def interrupt(event: TrialEvent) -> None:
        if event.number == 2:
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        engine.run_trials(slow, searcher_of(study, wanted=9, on_event=interrupt), payload=1, slots=SLOTS)
    assert time.perf_counter() - sent[0] < 5
    found = states(study)
    assert found["COMPLETE"] >= 1
    assert found["FAIL"] == found["WAITING"]
    assert "RUNNING" not in found
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    wait_until(lambda: engine.ray.available_resources().get("CPU") == SLOTS)


def test_mistake_of_the_space_comes_home_as_it_is(ray_started: None, tmp_path: Path) -> None:
    def broken(trial: optuna.Trial) -> dict[str, Any]:
        raise ConfigError("betas must be positive, got -1")

    study = open_toy(tmp_path)
    with pytest.raises(ConfigError, match="betas must be positive, got -1"):
        engine.run_trials(toy, searcher_of(study, wanted=2, space=broken), payload={"plan": {}}, slots=SLOTS)
    assert states(study) == {"FAIL": 1}


def test_trial_larger_than_any_node_is_refused_at_once(ray_started: None, tmp_path: Path) -> None:
    study = open_toy(tmp_path)
    with pytest.raises(ConfigError, match=r"asks for 64 CPUs and 0 GPUs, .* largest node has 2 CPUs and 0 GPUs; lower"):
        engine.run_trials(toy, searcher_of(study, wanted=1), slots=SLOTS, cpus_per_trial=64)
    with pytest.raises(ConfigError, match=r"0\.5 GPUs"):
        engine.run_tasks(square, [1], gpus=0.5)
    assert states(study) == {}


def test_slots_are_counted_node_by_node(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 3.0, "GPU": 1.0}, {"CPU": 8.0}]
    monkeypatch.setattr(engine.ray, "nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])
    assert engine.available_slots(2) == 2 + 1 + 4
    assert engine.available_slots(1, 1) == 2
    assert engine.available_slots(0.1, 0.1) == 20


def test_tasks_share_a_read_only_payload_and_keep_their_order(ray_started: None) -> None:
    ended = []
    payload = {"zeros": np.zeros(1_000_000, dtype=np.uint8)}
    results = engine.run_tasks(square, [0, 1, 2], payload=payload, on_done=lambda index, result: ended.append(index))
    assert results == [(0, False), (1, False), (4, False)]
    assert sorted(ended) == [0, 1, 2]


def test_error_of_a_task_comes_home_as_it_was_raised(ray_started: None) -> None:
    with pytest.raises(EraseDiverged, match=r"^teacher 1 diverged$") as caught:
        engine.run_tasks(diverge, [0, 1])
    assert type(caught.value) is EraseDiverged
    assert "in diverge" in str(caught.value.__cause__), "the remote traceback"


def test_task_whose_process_dies_is_one_sentence(ray_started: None) -> None:
    with pytest.raises(NadError, match=r"^a worker process was lost \(WorkerCrashedError\)"):
        engine.run_tasks(die, [0])


# the kernel's view


def processes_below(pid: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def sockets_of(pid: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            found |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(link)))
        except FileNotFoundError:
            continue
    return found


def listening_addresses(pids: set[int]) -> set[str]:
    mine = set().union(*(sockets_of(pid) for pid in pids))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in mine:
                found.add(fields[1].partition(":")[0])
    return found


def test_embedded_ray_listens_on_the_loopback_only(ran: Ran) -> None:
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    family = processes_below(os.getpid())
    assert len(family) > 3
    addresses = listening_addresses(family)
    assert addresses
    assert addresses <= loopback


def test_token_is_asked_for_and_not_written_down(ray_started: None) -> None:
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) >= 32
    assert not (Path.home() / ".ray").exists()
    commands = "".join(command_of(pid) for pid in processes_below(os.getpid()))
    assert "gcs_server" in commands
    assert os.environ["RAY_AUTH_TOKEN"] not in commands


# the driver's end


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """For a driver's temporary files; pytest's own path is too long for Ray's sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def start_driver(folder: Path, tmp: Path) -> subprocess.Popen[str]:
    code = f"import test_engine, pathlib; test_engine.drive(pathlib.Path({str(folder)!r}))"
    return subprocess.Popen(  # of its own session: Ctrl-C goes to a whole process group
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": IMPORTABLE, "TMPDIR": str(tmp)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until_two_run(study: optuna.study.Study, process: subprocess.Popen[str]) -> None:
    ready = {"COMPLETE": 3, "RUNNING": 2}
    try:
        wait_until(lambda: states(study) == ready or process.poll() is not None, seconds=120)
    finally:
        if states(study) != ready:
            process.kill()
            pytest.fail(process.communicate()[1])


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_killed_driver_loses_nothing_that_was_finished(ray_started: None, tmp_path: Path, short_tmp: Path) -> None:
    study = open_toy(tmp_path)
    process = start_driver(tmp_path, short_tmp)
    wait_until_two_run(study, process)
    family = {
        pid for pid in processes_below(process.pid) if "Agent" not in command_of(pid)
    }  # Ray's take a minute to go
    before = study.trials
    process.kill()
    output = process.communicate()
    study = open_toy(tmp_path)
    engine.run_trials(toy, searcher_of(study, wanted=8), payload={"plan": {}}, slots=SLOTS)
    assert output == ("", ""), "a driver is silent"
    assert states(study) == {"COMPLETE": 8, "FAIL": 2}
    after = study.trials
    finished = [trial.number for trial in before if trial.state.name == "COMPLETE"]
    assert [after[number] for number in finished] == [before[number] for number in finished]
    in_flight = [trial.params for trial in before if trial.state.name == "RUNNING"]
    assert [trial.params for trial in after[5:7]] == in_flight
    assert [trial.user_attrs.get("control") for trial in after].count("fine-tuning") == 1
    wait_until(lambda: not alive(family))


def test_interrupted_driver_cleans_up_after_itself(tmp_path: Path, short_tmp: Path) -> None:
    study = open_toy(tmp_path)
    process = start_driver(tmp_path, short_tmp)
    wait_until_two_run(study, process)
    family = processes_below(process.pid)
    assert {entry.stat().st_mode & 0o777 for entry in short_tmp.iterdir()} == {0o700}
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert out == ""
    assert err.strip().endswith("KeyboardInterrupt")
    assert states(study) == {"COMPLETE": 3, "FAIL": 2, "WAITING": 2}
    assert not list(short_tmp.iterdir())
    assert not alive(family)
