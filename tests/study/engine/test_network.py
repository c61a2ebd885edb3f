"""What a study asks of the network: nothing. It runs where there is none, and the kernel counts every try to leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_engine import IMPORTABLE

UNREACHABLE = "Ip OutNoRoutes", "Ip6 OutNoRoutes"
"""The kernel's counts of packets and connections that were meant for a host that no route leads to."""

INSIDE = f"""
import json, pathlib, subprocess, sys

def refused():
    names, values = [line.split()[1:] for line in pathlib.Path("/proc/net/snmp").read_text().splitlines()[:2]]
    six = dict(line.split() for line in pathlib.Path("/proc/net/snmp6").read_text().splitlines())
    counts = int(dict(zip(names, values))["OutNoRoutes"]), int(six["Ip6OutNoRoutes"])
    return dict(zip({UNREACHABLE}, counts))

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
done = subprocess.run([sys.executable, *sys.argv[1:]], capture_output=True, text=True)
print(json.dumps({{"code": done.returncode, "output": done.stdout + done.stderr, "refused": refused()}}))
"""


def can_have_a_network_of_its_own() -> bool:
    try:
        return subprocess.run(["unshare", "--net", "ip", "link"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(
    not can_have_a_network_of_its_own(), reason="needs unshare, ip, and the right to use them"
)


def alone(*arguments: str, **environment: str) -> dict:
    """Run Python in a network namespace with nothing but a loopback interface; what it did there."""
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", INSIDE, *arguments],
        env={**os.environ, "PYTHONPATH": IMPORTABLE, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


PROXY = "http://192.0.2.1:3128"
CLOUDS = "169.254.169.254,metadata.google.internal"


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"no_proxy": CLOUDS},
        {"NO_PROXY": CLOUDS},
        {"no_proxy": "*"},
        {"NO_PROXY": "*"},
        {"http_proxy": PROXY, "https_proxy": PROXY, "all_proxy": PROXY},
        {"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY, "ALL_PROXY": PROXY, "NO_PROXY": CLOUDS},
    ],
    ids=str,
)
def test_study_tries_to_reach_no_other_host(environment: dict[str, str], options: list[str], tmp_path: Path) -> None:
    extent = ("1", "0") if environment else ("6", "1")
    study = [*options, "--trials", extent[0], "--confirm", extent[1], "--output", str(tmp_path), "--name", "s"]
    found = alone("-m", "study.run", *study, **environment)
    assert found["code"] == 0, found["output"]
    assert (tmp_path / "s" / "report.html").exists()
    assert found["refused"] == dict.fromkeys(UNREACHABLE, 0)


def test_a_try_would_be_counted() -> None:
    lines = [
        "import contextlib, socket",
        "for family, host in ((socket.AF_INET, '192.0.2.1'), (socket.AF_INET6, '2001:db8::1')):",
        "    with contextlib.suppress(OSError):",
        "        socket.socket(family).connect((host, 9))",
    ]
    assert alone("-c", "\n".join(lines))["refused"] == dict.fromkeys(UNREACHABLE, 1)
