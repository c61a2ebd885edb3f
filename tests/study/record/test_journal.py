from __future__ import annotations

import json
import shutil
from pathlib import Path

import optuna
import pytest
from toys import DIRECTIONS, play_all, searcher_of, states

from nad.errors import NadError
from study.record.journal import mend
from study.record.storage import open_study


def open_toy(path: Path, said: list[str]) -> optuna.Study:
    return open_study(f"journal:{path}", "s", "random", 0, DIRECTIONS, said.append)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three complete trials."""
    path = tmp_path_factory.mktemp("journal") / "study.log"
    said: list[str] = []
    play_all(searcher_of(open_toy(path, said), wanted=3))
    assert said == []
    assert path.stat().st_size > 0
    return path


def test_study_goes_on_from_a_journal(journal: Path, tmp_path: Path) -> None:
    path, said = tmp_path / "j", list[str]()
    shutil.copy(journal, path)
    play_all(searcher_of(open_toy(path, said), wanted=5))
    assert states(open_toy(path, said)) == ["COMPLETE"] * 5
    assert said == []
    assert [file.name for file in tmp_path.iterdir()] == ["j"], "no lock is left"


def test_record_that_was_cut_anywhere_loses_no_whole_line(journal: Path, tmp_path: Path) -> None:
    """Every byte offset of the last four records."""
    content, path = journal.read_bytes(), tmp_path / "j"
    lines = content.splitlines(keepends=True)
    begin = sum(map(len, lines[:-4]))
    for end in range(begin, len(content) + 1):
        path.write_bytes(content[:end])
        whole = content[:end].rpartition(b"\n")[0]
        kept = whole.count(b"\n") + bool(whole)
        tail = content[begin:end].rpartition(b"\n")[2] or b""
        complete = bool(tail) and tail + b"\n" in lines
        assert mend(path) == (0 if complete else len(tail))
        mended = path.read_bytes().splitlines(keepends=True)
        assert mended == lines[: kept + complete]
        assert mend(path) == 0


@pytest.mark.parametrize("tail", [b'{"op_code":4,"stu', b"\x00" * 700, b'{"op_code":4}'[:-1], b"x" * 200_000])
def test_torn_journal_is_mended_when_it_is_opened_and_the_user_is_told(
    journal: Path, tmp_path: Path, tail: bytes
) -> None:
    path, said = tmp_path / "j", list[str]()
    path.write_bytes(journal.read_bytes() + tail)
    study = open_toy(path, said)
    assert said == [f"the journal {path} ended in the middle of a record: its last {len(tail)} bytes were cut off"]
    assert states(study) == ["COMPLETE"] * 3
    play_all(searcher_of(study, wanted=4))
    assert states(open_toy(path, said)) == ["COMPLETE"] * 4
    assert len(said) == 1


def test_journal_that_is_torn_while_it_is_open_is_mended_before_the_next_record(journal: Path, tmp_path: Path) -> None:
    path, said = tmp_path / "j", list[str]()
    shutil.copy(journal, path)
    study = open_toy(path, said)
    with path.open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    play_all(searcher_of(study, wanted=4))
    assert len(said) == 1
    assert states(open_toy(path, said)) == ["COMPLETE"] * 4


@pytest.mark.parametrize("text", ["my notes\nand more", "my notes", "{}", "[1]\n[2", '{"a": 1}\n{"b'])
def test_file_that_is_no_journal_is_refused_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes"
    path.write_text(text)
    with pytest.raises(NadError, match="notes is no Optuna journal") as caught:
        open_toy(path, [])
    assert "\n" not in str(caught.value)
    assert path.read_text() == text


def test_journal_that_is_damaged_in_its_middle_is_refused_and_left_as_it_is(journal: Path, tmp_path: Path) -> None:
    lines = journal.read_text().splitlines(keepends=True)
    lines[3] = lines[3][:20] + "\n"
    path = tmp_path / "j"
    path.write_text("".join(lines))
    with pytest.raises(NadError, match="damaged before its end"):
        open_toy(path, [])
    assert path.read_text() == "".join(lines)


def test_journal_in_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NadError, match=r"cannot open .*none/j: No such file"):
        open_toy(tmp_path / "none" / "j", [])


def test_scores_are_the_same_as_in_a_database(journal: Path, study: optuna.Study) -> None:
    play_all(searcher_of(study, wanted=3))
    other = open_toy(journal, [])
    assert [(t.params, t.values, t.user_attrs["seed"]) for t in study.trials] == [
        (t.params, t.values, t.user_attrs["seed"]) for t in other.trials
    ]
    assert all(trial.duration is not None for trial in other.trials)
    assert all(json.loads(line)["op_code"] is not None for line in journal.read_text().splitlines())
