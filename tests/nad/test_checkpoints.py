import os
import threading
from pathlib import Path
from typing import Any, Never

import pytest
import torch

from nad import checkpoints
from nad.checkpoints import Checkpoint, cached, content_key, load, load_entry, save, state_digest
from nad.errors import CheckpointError, ConfigError

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "steps": torch.tensor(4)}


def test_what_is_saved_is_loaded_with_its_card(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", Checkpoint(STATE, {"acc": 0.5}))
    loaded = load(tmp_path / "a.safetensors")
    assert loaded.card == {"acc": 0.5}
    assert state_digest(loaded.state) == state_digest(STATE)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_file_name_in_another_encoding_than_utf_8_is_written_and_read(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"cach\xe9")
    for _ in range(2):
        found = cached(folder, "victim", {}, lambda: Checkpoint(STATE, {}))
    assert state_digest(found.state) == state_digest(STATE)
    (path,) = folder.glob("*.safetensors")
    assert load_entry(path) is not None


def test_digest_follows_names_shapes_and_values() -> None:
    changed = [
        {**STATE, "weight": STATE["weight"] + 1},
        {**STATE, "weight": STATE["weight"].reshape(3, 2)},
        {"weights": STATE["weight"], "steps": STATE["steps"]},
    ]
    assert len({state_digest(state) for state in [STATE, *changed]}) == 4


def test_key_does_not_depend_on_the_order_of_facts() -> None:
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1}) != content_key({"a": 1, "b": 3})


def test_key_of_what_json_holds_never_changes() -> None:
    # A change here would train every victim again.
    facts = {"seed": 0, "attack": {"name": "badnets", "rate": 0.1}, "layers": ("a", "b"), "nothing": None, "flip": True}
    assert content_key(facts) == "b2b9bbf07fa6e24f0fc92f9f"


@pytest.mark.parametrize("fact", [torch.zeros(2), object(), {1, 2}, {(1, 2): 3}])
def test_key_of_what_json_cannot_hold_is_refused(fact: Any) -> None:
    with pytest.raises(ConfigError, match="settings of a cached result must be in JSON's types") as caught:
        content_key({"fact": fact})
    assert "\n" not in str(caught.value)


def test_cache_makes_once(tmp_path: Path) -> None:
    calls = []

    def make():
        calls.append(1)
        return Checkpoint(STATE, {})

    for _ in range(3):
        assert cached(tmp_path, "victim", {"seed": 0}, make).card["facts"] == {"seed": 0}
    cached(tmp_path, "victim", {"seed": 1}, make)
    assert len(calls) == 2


def test_two_at_a_time_make_once(tmp_path: Path) -> None:
    calls = []
    inside = threading.Event()

    def make():
        calls.append(1)
        inside.set()
        threading.Event().wait(0.3)
        return Checkpoint(STATE, {})

    threads = [threading.Thread(target=cached, args=(tmp_path, "victim", {}, make)) for _ in range(2)]
    threads[0].start()
    inside.wait()
    threads[1].start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


@pytest.mark.parametrize("torn", [b"", b"\x08\x00\x00\x00\x00\x00\x00\x00{", b"not a model at all"])
def test_torn_cache_file_is_made_anew(tmp_path: Path, torn: Any) -> None:
    cached(tmp_path, "victim", {}, lambda: Checkpoint(STATE, {}))
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(torn)
    again = cached(tmp_path, "victim", {}, lambda: Checkpoint({"new": torch.ones(1)}, {}))
    assert set(again.state) == {"new"}
    assert load_entry(path) is not None


@pytest.mark.parametrize(("file", "reason"), [("/proc/self/mem", "No such device"), (".", "Is a directory")])
def test_cache_file_that_cannot_be_read_now_is_kept(tmp_path: Path, file: str, reason: str) -> None:
    path = tmp_path / "victim.safetensors"
    path.symlink_to(file)  # even the superuser may not read these
    with pytest.raises(CheckpointError, match=rf"victim\.safetensors: {reason}.*nothing was removed"):
        load_entry(path)
    assert path.is_symlink()


def test_cache_file_that_torch_cannot_open_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "victim.safetensors", Checkpoint(STATE, {}))

    def full(*arguments, **options) -> Never:
        raise RuntimeError("unable to open file <victim.safetensors> in read-only mode: Too many open files (24)")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "safe_open", full)
        with pytest.raises(CheckpointError, match=r"Too many open files .*nothing was removed"):
            load_entry(tmp_path / "victim.safetensors")
    assert load_entry(tmp_path / "victim.safetensors") is not None


def test_a_failing_maker_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        cached(tmp_path, "victim", {}, lambda: 1 / 0)
    assert not list(tmp_path.glob("*.partial"))
    assert not list(tmp_path.glob("*.safetensors"))


def test_foreign_file_is_refused_by_name(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.ones(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match=r"foreign\.safetensors was not written by this tool"):
        load(tmp_path / "foreign.safetensors")


def test_unwritable_folder_ends_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="choose another --cache"):
        cached(tmp_path / "file" / "models", "victim", {}, lambda: Checkpoint(STATE, {}))


def test_a_file_where_a_folder_should_be_ends_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot write the model file .*m\.safetensors: "):
        save(tmp_path / "file" / "m.safetensors", Checkpoint(STATE, {}))
