"""Workers import the files that the driver imported."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from nad.errors import ConfigError, NadError
from study.engine import address, code, probe, session
from study.engine.node_facts import describe

SESSION = """
import sys
sys.path.append(sys.argv[1])
import own, ray
from study.engine import code, session
with session.ray_session(cpus=1):
    there, twice = ray.get([ray.remote(code.imported).remote(), ray.remote(own.twice).remote(4)])
    print(there == code.imported(), twice)
"""


@pytest.fixture
def spoiled(tmp_path: Path) -> Path:
    """A folder with files of the names of packages and modules that trials import."""
    for name in (*code.PACKAGES, "torch", "numpy", "ray", "json", "random"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a file of the current folder')\n")
    return tmp_path


def test_workers_import_nothing_from_the_current_folder_and_all_that_the_driver_can(
    spoiled: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = tmp_path_factory.mktemp("own:modules")
    (own / "own.py").write_text("def twice(number):\n    return 2 * number\n")
    done = subprocess.run(
        [sys.executable, "-P", "-c", SESSION, str(own)], cwd=spoiled, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("True 8\n", "")


def test_cluster_is_asked_without_the_current_folder(spoiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(spoiled)
    monkeypatch.setattr(address, "_KNOCK", "import json, random, nad; print('answered')")
    assert address._knock("127.0.0.1:1", dict(os.environ)) == "answered\n"


def test_workers_with_other_code_are_refused(ray_started: None, monkeypatch: pytest.MonkeyPatch) -> None:
    session._require_same_code()
    monkeypatch.setattr(code, "digest", lambda: "another")
    with pytest.raises(NadError, match=r"^the study's processes import files of nad, .* that differ; move those away"):
        session._require_same_code()


def test_node_with_other_code_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    old = describe(probe.PACKAGES, ())._replace(code="0123456789abcdef")
    monkeypatch.setattr(probe, "on_every_node", lambda *arguments, **options: [("n1", old)])
    with pytest.raises(
        ConfigError, match=r"^the node n1 imports other files .* \(digest 0123456789ab, here [0-9a-f]+\)"
    ):
        probe.require_equal_nodes()


def test_shadowed_library_is_named_with_both_files() -> None:
    here = code.Code("same", (("numpy", "/lib/numpy/__init__.py"), ("json", "/lib/json/__init__.py")))
    there = here._replace(places=(("numpy", "/cwd/numpy.py"), here.places[1]))
    assert code.differences(here, here) == ""
    assert code.differences(there, here) == "numpy from /cwd/numpy.py (here /lib/numpy/__init__.py)"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "of_this_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(code, "PACKAGES", (folder.name,))
    code.digest.cache_clear()
    yield folder
    code.digest.cache_clear()


def test_digest_is_of_names_and_contents(package: Path) -> None:
    def digest() -> str:
        code.digest.cache_clear()
        return code.digest()

    found = [digest()]
    (package / "part.py").write_text("a = 1\n")
    found.append(digest())
    (package / "part.py").write_text("a = 2\n")
    found.append(digest())
    (package / "part.py").rename(package / "other.py")
    found.append(digest())
    assert len(set(found)) == 4
    (package / "notes.txt").write_text("not code\n")
    assert digest() == found[-1]


# the environment of Ray's processes


PROXIES = [name for proxy in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for name in (proxy, proxy.upper())]


@pytest.mark.parametrize("value", ["*", "169.254.169.254,metadata.google.internal", None])
def test_no_proxy_setting_leads_ray_out_of_this_machine(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the user's environment says, which is as it was afterwards."""
    seen = {}

    def init(**_options: object) -> None:
        seen.update({name: os.environ.get(name) for name in PROXIES})
        raise RuntimeError("far enough")

    for name in PROXIES:
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    not_running = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: None)
    monkeypatch.setattr(session, "ray", not_running)
    with pytest.raises(NadError, match="far enough"), session.ray_session(cpus=1):
        pass
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    assert seen == {**dict.fromkeys(PROXIES), **nowhere}
    assert {name: os.environ.get(name) for name in PROXIES} == dict.fromkeys(PROXIES, value)


def test_workers_have_the_same_proxies(ray_started: None) -> None:
    there = ray.get(ray.remote(_proxies).remote())
    assert there == {name: os.environ.get(name) for name in PROXIES}
    assert there["https_proxy"] == "http://127.0.0.1:9"
    assert there["no_proxy"] is None


def _proxies() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in PROXIES}
