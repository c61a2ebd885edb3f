import math
import os
from pathlib import Path
from typing import Any

import pytest

from nad.cores import cores, cpu_quota

V2 = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup rw,nsdelegate\n"
V1 = (
    "30 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 23 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
)
OF_V1 = "5:memory:/a\n2:cpu,cpuacct:/a/b\n0::/\n"


def of_v1(folder, quota, period=100000):
    """Files of a cgroup of version 1."""
    place = f"cpu,cpuacct{folder}"
    return {f"{place}/cpu.cfs_quota_us": f"{quota}\n", f"{place}/cpu.cfs_period_us": f"{period}\n"}


def quota(root, mounts, cgroups, files):
    """As read in a file system with these files below /sys/fs/cgroup."""
    texts = {"proc/self/mountinfo": mounts, "proc/self/cgroup": cgroups}
    texts |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return cpu_quota(root)


@pytest.mark.parametrize(
    ("mounts", "cgroups", "files", "right"),
    [
        (V2, "0::/a/b\n", {"a/b/cpu.max": "50000 100000\n"}, 0.5),
        (V2, "0::/a/b\n", {"a/b/cpu.max": "max 100000\n"}, math.inf),
        (V2, "0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n"}, 1.5),
        (V2, "0::/a/b\n", {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "20000 10000\n", "c/cpu.max": "1 9\n"}, 2.0),
        (V2, "0::/\n", {"cpu.max": "300000 100000\n"}, 3.0),
        (V2, "0::/../../host/only\n", {"cpu.max": "300000 100000\n"}, 3.0),
        (V2.replace(" / ", " /docker/1 "), "0::/docker/1\n", {"cpu.max": "50000 100000\n"}, 0.5),
        (V1, OF_V1, of_v1("/a/b", 50000), 0.5),
        (V1, OF_V1, of_v1("/a/b", -1), math.inf),
        (V1, OF_V1, of_v1("", 25000, 10000), 2.5),
        (V2, "0::/a/b\n", {}, math.inf),
        ("", "0::/a\n", {"a/cpu.max": "50000 100000\n"}, math.inf),
    ],
    ids=[
        "version 2",
        "version 2, no quota",
        "of the one above",
        "the least of all",
        "a container's top",
        "a path of the host",
        "a cgroup mounted as the top",
        "version 1",
        "version 1, no quota",
        "version 1, of the one above",
        "no files",
        "no mounts",
    ],
)
def test_quota_is_the_least_of_the_process_s_cgroups_and_those_above(
    tmp_path: Path, mounts: Any, cgroups: Any, files: Any, right: Any
) -> None:
    assert quota(tmp_path, mounts, cgroups, files) == right


def test_system_without_cgroups_sets_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) == math.inf


@pytest.mark.parametrize(
    ("allowed", "quota", "right"), [(4, 0.5, 1), (4, 1.5, 1), (4, 2.0, 2), (4, 8.0, 4), (4, math.inf, 4), (1, 2.0, 1)]
)
def test_cores_are_those_of_affinity_and_quota_whichever_is_less(
    monkeypatch: pytest.MonkeyPatch, allowed: int, quota: Any, right: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(allowed)), raising=False)
    monkeypatch.setattr("nad.cores.cpu_quota", lambda: quota)
    assert cores() == right
