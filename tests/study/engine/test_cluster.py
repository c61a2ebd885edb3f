"""A study on a real Ray cluster: two nodes of this machine, each with one CPU."""

from __future__ import annotations

import io
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest
import ray
import torch
from cluster import LocalCluster, free_port, local_cluster
from cluster_tasks import Dies, Diverges, where_the_code_is
from processes import wait_until
from ray._private import ray_constants
from rich.console import Console
from studies import refused, scores, summary

from nad.errors import ConfigError, NadError, TrainingDiverged
from study.display.progress import Display
from study.engine import probe, session, tasks
from study.engine.address import find_cluster
from study.engine.node_facts import Facts, describe
from study.engine.nodes import Share, largest_share, on_every_node, working_nodes
from study.engine.remote_training import runner
from study.options.config import StudyConfig
from study.options.engine import EngineOptions
from study.run import main
from study.stages.cluster import on_cluster

ROOT = Path(__file__).resolve().parents[3]
AS_HERE = ("--precision", EngineOptions().used_precision)
"""On a cluster, auto is float32 whatever this machine computes in: its nodes could be others."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with local_cluster() as started, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", started.token or "")
        yield started


@pytest.fixture(scope="session")
def without_workers(options: list[str]) -> list[str]:
    """The same command, on as many nodes as there are."""
    where = options.index("--workers")
    return [*options[:where], *options[where + 2 :], *AS_HERE]


def joined(cluster: LocalCluster) -> AbstractContextManager[None]:
    return session.cluster_session(find_cluster(cluster.address), (*session.PACKAGES, "cluster_tasks"))


def test_code_travels_to_nodes_that_do_not_have_it(cluster: LocalCluster) -> None:
    with joined(cluster):
        places = ray.get(ray.remote(where_the_code_is).remote())
        assert len(working_nodes()) == 2
        assert largest_share() == Share(1, 0)
        answers = on_every_node(describe, (("torch",), ("study.engine.erase_task",)), seconds=120)
        assert probe.require_equal_nodes() == []
    assert all(str(cluster.folder) in place and str(ROOT) not in place for place in places), places
    assert [answer.versions["torch"] for _node, answer in answers] == [torch.__version__.partition("+")[0]] * 2
    assert {answer.failure for _node, answer in answers} == {""}
    assert {node.partition(" ")[0] for node, _answer in answers} == set(cluster.nodes)


@pytest.mark.slow
def test_study_on_a_cluster_scores_as_on_this_machine_and_leaves_the_cluster_running(
    cluster: LocalCluster,
    without_workers: list[str],
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [*without_workers, "--trials", "6", "--output", str(tmp_path), "--name", "s"]
    assert main([*command, "--address", cluster.address]) == 0
    shown = capsys.readouterr().out
    assert "2 nodes, room for 2 trials at a time" in shown
    assert "warning" not in shown
    assert scores(tmp_path / "s") == scores(finished)
    assert all(node.poll() is None for node in cluster.nodes.values())
    assert not ray.is_initialized()


@pytest.mark.slow
def test_victim_is_trained_on_the_cluster_and_kept_here(
    cluster: LocalCluster, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With as many threads as the node has CPUs: one thread here gives the same bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for place in (["--address", cluster.address], []):
            own = str(tmp_path / f"cache{len(place)}")
            runs = str(tmp_path / f"runs{len(place)}")
            command = [*options, *AS_HERE, "--cache", own, "--trials", "1", "--output", runs]
            assert main([*command, "--victim-epochs", "3", "--name", "s", *place]) == 0
    finally:
        torch.set_num_threads(threads)
    assert "victim: 3/3 epochs" in capsys.readouterr().out
    there, here = (summary(tmp_path / f"runs{count}" / "s") for count in (2, 0))
    assert there["victim_sha256"] == here["victim_sha256"]
    assert len(list((tmp_path / "cache2" / "models").glob("victim-*.safetensors"))) == 1


@pytest.fixture
def display() -> Display:
    return Display(Console(file=io.StringIO()))


@pytest.mark.slow
def test_training_that_fails_on_the_cluster_says_why(cluster: LocalCluster, display: Display, tmp_path: Path) -> None:
    on_it = runner(cluster.address, display)
    with joined(cluster):
        with pytest.raises(TrainingDiverged, match=r"^the victim's training diverged in epoch 2$"):
            on_it(Diverges(), None, None)
        with pytest.raises(NadError, match=r"^a worker process was lost"):
            on_it(Dies(tmp_path), None, None)
    assert len(list(tmp_path.iterdir())) == 2, "it is tried again, once"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_study_that_loses_a_node_completes_every_wanted_trial(
    without_workers: list[str],
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = [*without_workers, "--trials", "12", "--output", str(tmp_path), "--name", "s"]

    ended = threading.Event()

    def kill_in_mid_study() -> None:
        wait_until(lambda: ended.is_set() or done(tmp_path / "s") >= 3, seconds=300)
        cluster.kill("127.0.0.3")

    with local_cluster() as cluster:
        monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.token or "")
        killer = threading.Thread(target=kill_in_mid_study)
        killer.start()
        try:
            code = main([*command, "--address", cluster.address])
        finally:
            ended.set()
            killer.join()
    shown = capsys.readouterr()
    assert code == 0, shown.err
    counts = summary(tmp_path / "s")["trials"]
    print(f"\n{counts}")
    assert (counts["complete"], counts["running"]) == (12, 0)
    both = scores(tmp_path / "s").keys() & scores(finished).keys()
    assert len(both) >= 4
    assert {point: scores(tmp_path / "s")[point] for point in both} == {
        point: scores(finished)[point] for point in both
    }


def done(folder: Path) -> int:
    """Complete trials so far. Optuna would make missing tables; this only reads."""
    try:
        with closing(sqlite3.connect(f"file:{folder}/study.db?mode=ro", uri=True)) as record:
            return int(record.execute("SELECT COUNT(*) FROM trials WHERE state = 'COMPLETE'").fetchone()[0])
    except sqlite3.OperationalError:  # no record yet
        return 0


@pytest.mark.slow
def test_cluster_that_asks_nobody_for_a_token_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """One node on the loopback interface, so that nobody else gets in while this runs."""
    shown = io.StringIO()
    only_here = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
    with (
        local_cluster("127.0.0.1", token=False, environment=only_here) as cluster,
        on_cluster(EngineOptions(address=cluster.address), Display(Console(file=shown, width=400))),
    ):
        pass
    assert f"warning: the Ray cluster at {cluster.address} asks for no token" in shown.getvalue()


@pytest.mark.slow
def test_node_that_is_waited_for_is_used_when_it_comes(
    cluster: LocalCluster, without_workers: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*without_workers, "--trials", "1", "--cpus-per-trial", "2", "--output", str(tmp_path), "--name", "s"]
    starter = threading.Timer(8, lambda: cluster.start("127.0.0.4", cpus=2))
    starter.start()
    try:
        code = main([*command, "--address", cluster.address, "--wait-for-nodes", "3m"])
    finally:
        starter.join()
        cluster.kill("127.0.0.4")
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert "nodes: 0/180 s waited, room for 0" in shown.out
    assert "3 nodes, room for 1 trials at a time" in shown.out


# what is refused


def test_token_that_is_wrong_or_missing_is_one_sentence(
    cluster: LocalCluster,
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = [*options, "--output", str(tmp_path), "--address", cluster.address]
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 32)
    assert "asks for a token, and the token found here is another one" in refused(capsys, *command)
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "asks for a token, and no token is found here" in refused(capsys, *command)


def test_machine_that_is_no_node_is_told_so_at_once(
    cluster: LocalCluster,
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def not_here(where: tuple[str, int]) -> None:
        raise OSError(99, f"Cannot assign requested address {where}")

    monkeypatch.setattr(socket, "create_server", not_here)
    error = refused(capsys, *options, "--output", str(tmp_path), "--address", cluster.address)
    assert "this machine is no node of the Ray cluster" in error
    assert "127.0.0.3" in error


def test_cluster_of_another_ray_is_one_sentence(
    cluster: LocalCluster,
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray, "__version__", "2.50.0")
    error = refused(capsys, *options, "--output", str(tmp_path), "--address", cluster.address)
    assert f"cannot join the Ray cluster at {cluster.address}: Version mismatch" in error


def test_token_is_found_where_ray_keeps_it(
    cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(cluster.token or "")
    assert find_cluster(cluster.address).authenticated


def test_request_that_no_node_can_meet_is_refused_at_once_or_after_the_wait(
    cluster: LocalCluster, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*options, "--output", str(tmp_path), "--address", cluster.address, "--cpus-per-trial", "3"]
    error = refused(capsys, *command)
    assert "a trial asks for 3 CPUs and 0 GPUs, but Ray's largest node has 1 CPUs" in error
    assert "(waited for 3s)" in refused(capsys, *command, "--wait-for-nodes", "3s")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:{free}", "no Ray cluster answers at 127.0.0.1:{free} (Connection refused)"),
        ("no-such-host.invalid:6379", "no Ray cluster answers at no-such-host.invalid:6379"),
        ("ray://127.0.0.1:10001", "must be auto, or HOST:PORT"),
        ("127.0.0.1", "must be auto, or HOST:PORT"),
        ("auto", "--address auto finds no Ray cluster on this machine"),
    ],
)
def test_address_where_no_cluster_is_ends_at_once(
    address: str,
    reason: str,
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # where `ray start` leaves the address of its cluster
    port = free_port()
    error = refused(capsys, *options, "--output", str(tmp_path), "--address", address.format(free=port))
    assert reason.format(free=port) in error


def test_auto_is_the_cluster_that_was_started_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray").mkdir()
    port = free_port()
    (tmp_path / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{port}\n")
    with pytest.raises(ConfigError, match=rf"no Ray cluster answers at 127\.0\.0\.1:{port}"):
        find_cluster("auto")


def test_wait_without_a_cluster_is_refused() -> None:
    with pytest.raises(ConfigError, match="name the cluster with --address"):
        StudyConfig.of(wait_for_nodes="10m")
    with pytest.raises(ConfigError, match="--wait-for-nodes 'soon' is not a duration"):
        StudyConfig.of(address="auto", wait_for_nodes="soon")


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (
            Facts({**describe(probe.PACKAGES, ()).versions, "torch": "1.0"}, "", ""),
            r"^the node n1 has torch 1\.0 \(here .*\); install the same version",
        ),
        (
            Facts({**describe(probe.PACKAGES, ()).versions, "python": "3.9"}, "", ""),
            r"^the node n1 has python 3\.9 \(here ",
        ),
        (
            Facts({"python": describe((), ()).versions["python"]}, "ModuleNotFoundError: No module named 'torch'", ""),
            "torch",
        ),
        ("no answer in 300 s", r"^the node n1 .* does not run tasks of this study: no answer in 300 s"),
    ],
)
def test_node_that_would_fail_is_named_with_its_difference(
    facts: Facts | str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "on_every_node", lambda *arguments, **options: [("n1", facts)])
    with pytest.raises(ConfigError, match=reason):
        probe.require_equal_nodes()


def test_node_with_another_numpy_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    here = describe(probe.PACKAGES, ())
    other = here._replace(versions={**here.versions, "numpy": "2.0.0"})
    monkeypatch.setattr(probe, "on_every_node", lambda *arguments, **options: [("n1", other)])
    (warning,) = probe.require_equal_nodes()
    assert warning.startswith("the node n1 has numpy 2.0.0 (here ")


def test_package_that_is_missing_is_an_answer() -> None:
    facts = describe(("no-such-package",), ("no_such_module",))
    assert facts.versions.keys() == {"python"}
    assert facts.failure == "ModuleNotFoundError: No module named 'no_such_module'"


def test_process_on_a_shared_gpu_is_held_to_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    class Context:
        def get_assigned_resources(self) -> dict[str, float]:
            return {"CPU": 1.0, "GPU": 0.25}

    held: list[tuple[float, int]] = []
    monkeypatch.setattr(session.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(session.ray, "get_gpu_ids", lambda: ["0"])
    monkeypatch.setattr(session.ray, "get_runtime_context", Context)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *held_to: held.append(held_to))
    assert tasks.granted_device() == "cuda:0"
    assert held == [(0.25, 0)]
    monkeypatch.setattr(session.ray, "get_gpu_ids", list)
    assert tasks.granted_device() == "cpu"
    assert len(held) == 1
