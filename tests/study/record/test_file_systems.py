from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from toys import DIRECTIONS

from study.record import storage
from study.record.file_systems import is_local
from study.record.storage import open_study

MOUNTS = """\
proc /proc proc rw 0 0
/dev/vda / ext4 rw 0 0
server:/export /home nfs4 rw,vers=4.2 0 0
//server/share /mnt/my\\040share cifs rw 0 0
tmpfs /home/me/fast tmpfs rw 0 0
user@host: /home/me/fast/far fuse.sshfs rw 0 0
overlay /box overlay rw 0 0
host /box 9p rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("/data/runs", True),
        ("/home/me/runs", False),
        ("/homes/runs", True),
        ("/mnt/my share/runs", False),
        ("/home/me/fast/runs", True),
        ("/home/me/fast/far/runs", False),
        ("/box/runs", False),
    ],
)
def test_the_mount_that_a_path_lies_in_says_whether_others_reach_it(tmp_path: Path, path: str, local: bool) -> None:
    table = tmp_path / "mounts"
    table.write_text(MOUNTS)
    assert is_local(Path(path), table) is local


def test_this_machine_s_own_table_can_be_read(tmp_path: Path) -> None:
    assert is_local(tmp_path)
    assert is_local(tmp_path, tmp_path / "none")


@pytest.mark.parametrize(("local", "mode"), [(True, "wal"), (False, "delete")])
def test_write_ahead_log_is_for_local_file_systems_alone(
    tmp_path: Path, tables: Path, monkeypatch: pytest.MonkeyPatch, local: bool, mode: str
) -> None:
    for before in ("wal", "delete"):
        path = tmp_path / f"{before}.db"
        shutil.copy(tables, path)
        with sqlite3.connect(path) as connection:
            connection.execute(f"PRAGMA journal_mode={before}")
        connection.close()
        monkeypatch.setattr(storage, "is_local", lambda _path: local)
        open_study(f"sqlite:///{path}", "s", "random", 0, DIRECTIONS)
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA journal_mode").fetchone() == (mode,)
        connection.close()
