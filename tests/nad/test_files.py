from pathlib import Path

import pytest

from nad.files import written_beside


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "kept.bin"
    with written_beside(path) as beside:
        beside.write_bytes(b"whole")
        assert not path.exists()
    with pytest.raises(ZeroDivisionError), written_beside(path) as beside:
        beside.write_bytes(b"%d" % (1 / 0))
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_two_at_a_time_write_to_two_places(tmp_path: Path) -> None:
    path = tmp_path / "kept.bin"
    with written_beside(path) as first, written_beside(path) as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]
