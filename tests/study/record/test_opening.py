from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from driver_marks import earlier, leave_mark, mark_of
from toys import DIRECTIONS, play, searcher_of

from nad.errors import ConfigError, NadError
from study.commands.record_reading import read_trials
from study.options.record import RecordOptions
from study.options.search import SearchOptions
from study.record import heartbeat, opening
from study.record.driver import Driver, driver_of
from study.record.folder import StudyFolder, open_folder
from study.record.opening import open_record
from study.record.provenance import claim, record_identity, require_same
from study.record.storage import open_study

ONE, TWO = ({"science version": 1, "precision": "float32", "flip": True, "seed": seed} for seed in (1, 2))


@pytest.fixture
def config(tmp_path: Path) -> RecordOptions:
    return RecordOptions(name="s", storage=f"journal:{tmp_path}/j")


def folder_at(path: Path, left_by: Driver | None = None) -> StudyFolder:
    path.mkdir(exist_ok=True, parents=True)
    return StudyFolder(path, left_by)


def test_study_in_a_shared_storage_belongs_to_one_folder_until_it_is_moved(
    config: RecordOptions, tmp_path: Path
) -> None:
    for folder in ("a", "a"):
        with open_record(config, SearchOptions(), folder_at(tmp_path / folder / "s"), pytest.fail) as study:
            assert mark_of(study) is not None
    said = f"already has a study 's' of the folder {tmp_path}/a/s; choose another --name, or add --take"
    with (
        pytest.raises(ConfigError, match=said),
        open_record(config, SearchOptions(), folder_at(tmp_path / "b" / "s"), pytest.fail),
    ):
        pass
    moved = RecordOptions(name="s", storage=config.storage, take_over=True)
    with open_record(moved, SearchOptions(), folder_at(tmp_path / "b" / "s"), pytest.fail):
        pass
    with (
        pytest.raises(ConfigError, match="--take-over"),
        open_record(config, SearchOptions(), folder_at(tmp_path / "a" / "s"), print),
    ):
        pass


@pytest.mark.parametrize("local", [True, False])
def test_record_is_marked_where_the_folder_s_lock_does_not_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: bool
) -> None:
    monkeypatch.setattr(opening, "is_local", lambda _path: local)
    with open_record(RecordOptions(name="s"), SearchOptions(), folder_at(tmp_path / "s"), pytest.fail) as study:
        assert (mark_of(study) is None) is local
    assert not list(tmp_path.glob("s/study.db-*")), "SQLite's log is folded into the database"


def test_driver_that_is_gone_is_mentioned_once(config: RecordOptions, tmp_path: Path) -> None:
    with open_record(config, SearchOptions(), folder_at(tmp_path / "s"), pytest.fail):
        pass
    study = open_study(str(config.storage), "s", "random", 0, DIRECTIONS)
    left = leave_mark(study, born=earlier())
    said: list[str] = []
    with open_record(config, SearchOptions(), folder_at(tmp_path / "s", left), said.append):
        pass
    assert said == [
        f"the last driver (process {left.pid} on host {left.host}) is gone; its unfinished trials run again"
    ]


def test_driver_on_another_host_is_not_said_to_be_gone_before_it_was_watched(
    config: RecordOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "WATCH", 0.2)
    study = open_study(str(config.storage), "s", "random", 0, DIRECTIONS)
    left = leave_mark(study, host="far")
    said: list[str] = []
    with open_record(config, SearchOptions(), folder_at(tmp_path / "s", left), said.append):
        driver = driver_of(tmp_path / "s")
        assert driver is not None
        assert driver.is_this_process
    assert [sentence.split()[:3] for sentence in said] == [["the", "study", "was"], ["the", "study", "is"]]


def test_record_of_a_folder_that_was_renamed_is_not_mixed_with_a_new_study(tmp_path: Path) -> None:
    with open_record(RecordOptions(name="s"), SearchOptions(), folder_at(tmp_path / "s"), pytest.fail):
        pass
    renamed = StudyFolder((tmp_path / "s").rename(tmp_path / "t"), None)
    said = r"the record sqlite:.*/t/study\.db belongs to the study 's', not to 't': rename the folder to 's'"
    with (
        pytest.raises(ConfigError, match=said),
        open_record(RecordOptions(name="t"), SearchOptions(), renamed, pytest.fail),
    ):
        pass
    with pytest.raises(NadError, match="its record belongs to the study 's'"):
        read_trials(renamed, {})
    renamed.path.rename(tmp_path / "s")
    with open_record(RecordOptions(name="s"), SearchOptions(), folder_at(tmp_path / "s"), pytest.fail) as study:
        assert len(study._storage.get_all_studies()) == 1


def test_results_are_not_overwritten_from_a_record_that_they_did_not_come_from(tmp_path: Path) -> None:
    """Such as by the same command with --storage, or without the one that it had."""
    at_home, elsewhere = (RecordOptions(name="s", storage=url) for url in (None, f"journal:{tmp_path}/j"))
    folder = folder_at(tmp_path / "s")
    with open_record(at_home, SearchOptions(), folder, pytest.fail):
        pass
    with open_record(
        elsewhere, SearchOptions(), folder, pytest.fail
    ) as study:  # there are no results yet: that can be mended
        study.set_user_attr("victim", "sha256")
    folder.summary.write_text("{}")
    with open_record(elsewhere, SearchOptions(), folder, pytest.fail):
        pass
    said = rf"the results in {folder.path} came from another record than {folder.database}: give the --storage"
    with pytest.raises(ConfigError, match=said), open_record(at_home, SearchOptions(), folder, pytest.fail):
        pass
    other = RecordOptions(name="s", storage=f"sqlite:///{tmp_path}/other.db")
    with (
        pytest.raises(ConfigError, match=r"than sqlite:.*/other\.db"),
        open_record(other, SearchOptions(), folder, pytest.fail),
    ):
        pass


# what a study is


def test_record_knows_what_its_study_is_without_the_folder_s_files(study: optuna.Study, tmp_path: Path) -> None:
    with open_folder(tmp_path / "s") as folder:
        claim(folder, study, {}, ONE)
        claim(folder, study, {}, TWO)  # the victim is not accepted yet: settings can be mended
        record_identity(study, TWO)
        folder.config.unlink()
        with pytest.raises(ConfigError, match=r"seed 2 \(now 1\)"):
            claim(folder, study, {}, ONE)
        assert not folder.config.exists()
        claim(folder, study, {}, TWO)


def test_study_that_somebody_else_s_program_made_is_left_alone(study: optuna.Study, tmp_path: Path) -> None:
    play(searcher_of(study))
    with open_folder(tmp_path / "s") as folder, pytest.raises(NadError, match="the identity of this study"):
        claim(folder, study, {}, ONE)


def test_trials_of_another_version_of_the_science_or_precision_are_not_mixed() -> None:
    before_they_were_said = {"seed": 1}
    require_same("s", before_they_were_said, ONE)
    with pytest.raises(ConfigError, match=r"was made with science version 1 \(now 2\); .* --fork NAME"):
        require_same("s", before_they_were_said, {**ONE, "science version": 2})
    with pytest.raises(ConfigError, match=r"was made with precision float32 \(now bfloat16\)"):
        require_same("s", before_they_were_said, {**ONE, "precision": "bfloat16"})
