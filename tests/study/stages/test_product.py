"""What a study leaves to use: the erased model, its card, the picture, and the price where there is no backdoor."""

import shutil
from pathlib import Path
from typing import Never

import numpy as np
import optuna
import pytest
from PIL import Image
from studies import summary, table

from nad import data, models
from nad.attacks import BadNets
from nad.checkpoints import load, state_digest
from nad.evaluation import evaluate
from nad.models import recognise
from nad.scenario import Scenario
from reports.analysis import allocation
from reports.summary_schema import Summary
from study.engine import tasks
from study.run import main
from study.stages import product, teachers
from study.stages.confirmation import FRESH
from study.stages.confirmation_results import CLEAN_MODEL

pytestmark = pytest.mark.usefixtures("ray_started")


@pytest.fixture(scope="module")
def options(image_folder: Path, cache: Path, ray_started: None) -> list[str]:
    """A victim that may lose all of its accuracy: then there is always a recommended setting."""
    return [
        *("--attack", "badnets", "--dataset", "folder", "--data-dir", str(image_folder), "--image-size", "16"),
        *("--model", "wrn-10-1", "--poison-rate", "0.3", "--victim-epochs", "12", "--clean-fractions", "0.1", "0.2"),
        *("--sampler", "random", "--allow-weak-backdoor", "--cache", str(cache), "--workers", "1"),
        *("--max-acc-drop", "1.0", "--trials", "5", "--name", "s", "--precision", "float32"),
    ]


@pytest.fixture(scope="module")
def finished(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was not confirmed."""
    output = tmp_path_factory.mktemp("runs")
    assert main([*options, "--confirm", "0", "--output", str(output)]) == 0
    return output / "s"


@pytest.fixture(scope="module")
def confirmed(options: list[str], finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, confirmed by two defenders."""
    output = tmp_path_factory.mktemp("confirmed")
    shutil.copytree(finished, output / "s")
    assert main([*options, "--confirm", "2", "--output", str(output)]) == 0
    return output / "s"


def test_summary_has_exactly_the_keys_of_its_schema(finished: Path) -> None:
    assert summary(finished).keys() == {field.alias or name for name, field in Summary.model_fields.items()}


def test_recommended_model_has_the_scores_on_record(finished: Path, image_folder: Path, cache: Path) -> None:
    made = load(finished / "models" / "recommended.safetensors")
    assert recognise(made.state) == ("wrn-10-1", 4)
    network = models.make("wrn-10-1", 4)
    network.load_state_dict(made.state)
    images = data.load("folder", cache_dir=cache, data_dir=image_folder, image_size=16)
    found = evaluate(network, Scenario(images, BadNets(poison_rate=0.3), seed=0).validation)
    trials = table(finished).set_index("number")
    own = trials.loc[summary(finished)["recommended"]["number"]]
    assert {name: getattr(found, name) for name in ("asr", "acc", "balanced_acc")} == {
        name: own[name] for name in ("asr", "acc", "balanced_acc")
    }


def test_recommended_model_says_what_it_was_trained_on(finished: Path) -> None:
    known = {"image_size": 16, "flip": True, "class_names": ["class0", "class1", "class2", "class3"]}
    assert load(finished / "models" / "recommended.safetensors").card["trained_on"] == known


def test_models_folder_and_its_files_are_private(finished: Path) -> None:
    for name in ("models", "models/recommended.safetensors", "models/recommended.md", "attention.png"):
        assert (finished / name).stat().st_mode & 0o077 == 0, name


def test_card_says_what_was_done_how_good_it_is_and_what_not_to_conclude(finished: Path) -> None:
    card, known = (finished / "models" / "recommended.md").read_text(), summary(finished)
    point = known["recommended"]
    made = load(finished / "models" / "recommended.safetensors")
    for fact in (known["victim_sha256"], state_digest(made.state), known["command"], "badnets", "200 training images"):
        assert fact in card
    assert f"trial {point['number']}" in card
    own = table(finished).set_index("number").loc[point["number"]]
    assert f"| this model | {own['asr']:.1%} | {own['acc']:.1%} |" in card
    assert "equal the record's to the last digit" in card
    assert "not confirmed on test images" in card
    assert "No real defender enjoys that" in card
    assert "## Licence" in card


def test_picture_shows_the_study_s_own_images(finished: Path) -> None:
    with Image.open(finished / "attention.png") as attention, Image.open(finished / "attack.png") as attack:
        shown, own = np.asarray(attention), np.asarray(attack)
    first = own[: 16 * 4 : 4, : 16 * 4 : 4].repeat(6, axis=0).repeat(6, axis=1)
    corners = np.argwhere((shown[:-95, :-95] == first[0, 0]).all(axis=2))
    assert any(np.array_equal(shown[y : y + 96, x : x + 96], first) for y, x in corners)


def test_what_is_there_is_not_made_again_and_what_is_lost_is(
    options: list[str], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished, tmp_path / "s")
    model, picture = tmp_path / "s" / "models" / "recommended.safetensors", tmp_path / "s" / "attention.png"
    same = [*options, "--confirm", "0", "--output", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "run_tasks", lambda *arguments, **options: pytest.fail("nothing is left to run"))
        assert main(same) == 0
    before = model.read_bytes()
    picture.unlink()
    assert main(same) == 0
    assert picture.exists()
    assert model.read_bytes() == before


def test_recommendation_that_changed_is_made_anew_and_one_that_is_gone_leaves_nothing(
    options: list[str],
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(finished, tmp_path / "s")
    folder, command = tmp_path / "s", [*options, "--confirm", "0", "--output", str(tmp_path)]
    # Another recommendation: as after a trial that beat it
    best = allocation.recommended
    old = load(folder / "models" / "recommended.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(allocation, "recommended", lambda found, bound: int(best(found, bound) == 0))
        assert main(command) == 0
        number = summary(folder)["recommended"]["number"]
    new = load(folder / "models" / "recommended.safetensors")
    assert new.card["facts"]["trial"] == number != old.card["facts"]["trial"]
    assert f"trial {number}" in (folder / "models" / "recommended.md").read_text()
    with monkeypatch.context() as patch:
        patch.setattr(allocation, "recommended", lambda *_: None)
        assert main(command) == 0
    assert list((folder / "models").iterdir()) == []
    assert not (folder / "attention.png").exists()


def test_study_ended_before_its_new_recommendation_is_made_keeps_no_model_of_another_trial(
    options: list[str], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished, tmp_path / "s")
    folder, command = tmp_path / "s", [*options, "--confirm", "0", "--output", str(tmp_path)]
    best = allocation.recommended

    def interrupted(*arguments) -> Never:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(product, "keep_recommended", interrupted)
        assert main(command) == 130
        assert (folder / "models" / "recommended.md").read_text().startswith("# Erased model")
        assert 'id="attention"' in (folder / "report.html").read_text()
        patch.setattr(allocation, "recommended", lambda found, bound: int(best(found, bound) == 0))
        assert main(command) == 130
    number = summary(folder)["recommended"]["number"]
    assert [path.name for path in (folder / "models").iterdir()] == ["recommended.md"]
    assert f"the setting of trial {number}, whose model is not kept" in (folder / "models/recommended.md").read_text()
    assert 'id="attention"' not in (folder / "report.html").read_text()
    assert main(command) == 0
    made = load(folder / "models" / "recommended.safetensors")
    assert f"trial {made.card['facts']['trial']}" in (folder / "models" / "recommended.md").read_text()


def test_trial_that_comes_out_otherwise_is_said_and_kept(
    options: list[str], finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a machine that takes its sums in another order: here the record is changed instead."""
    import sqlite3

    shutil.copytree(finished, tmp_path / "s")
    with sqlite3.connect(tmp_path / "s" / "study.db") as database:
        # of all trials alike, so that the same one stays the recommended one
        database.execute("update trial_values set value = value - 0.001 where objective = 1")
    (tmp_path / "s" / "attention.png").unlink()
    assert main([*options, "--confirm", "0", "--output", str(tmp_path)]) == 0
    assert "another kind of machine" in " ".join(capsys.readouterr().out.split())
    assert "another kind of machine" in (tmp_path / "s" / "models" / "recommended.md").read_text()


def test_price_without_a_backdoor_is_measured_with_the_same_defenders(confirmed: Path) -> None:
    point = summary(confirmed)["recommended"]
    clean = point["clean_model"]
    assert (clean["before"]["seeds"], clean["after"]["seeds"], point["test"]["seeds"]) == (1, 2, 2)
    assert clean["before"]["acc"] > 0.8
    assert clean["acc_change"] == pytest.approx(clean["after"]["acc"] - clean["before"]["acc"])
    assert "no backdoor to lose" in (confirmed / "report.html").read_text()
    card = (confirmed / "models" / "recommended.md").read_text()
    assert "On a clean model of the same recipe" in card
    assert "| the same setting |" in card


def test_confirmation_is_made_once_and_without_the_clean_model_s_cache(
    options: list[str], confirmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(confirmed, tmp_path / "s")
    monkeypatch.setattr(tasks, "run_tasks", lambda *arguments, **options: pytest.fail("nothing is left to run"))
    monkeypatch.setattr("study.stages.preparation.train_reference", lambda *a, **o: pytest.fail("on record"))
    assert main([*options, "--confirm", "2", "--output", str(tmp_path)]) == 0
    assert summary(tmp_path / "s")["recommended"] == summary(confirmed)["recommended"]


def test_clean_model_that_comes_out_as_it_once_did_has_its_runs_already(
    options: list[str], confirmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a run in between on another machine, whose clean model was another one."""
    shutil.copytree(confirmed, tmp_path / "s")
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/s/study.db")
    study.set_user_attr(CLEAN_MODEL, {**study.user_attrs[CLEAN_MODEL], "sha256": "0" * 64})
    monkeypatch.setattr(tasks, "run_tasks", lambda *arguments, **options: pytest.fail("nothing is left to run"))
    assert main([*options, "--confirm", "2", "--output", str(tmp_path)]) == 0
    assert summary(tmp_path / "s")["recommended"] == summary(confirmed)["recommended"]


def test_teachers_of_a_clean_model_are_made_from_it(confirmed: Path, cache: Path) -> None:
    cards = [load(path).card for path in (cache / "models").glob("teacher-*.safetensors")]
    victims = {card["victim"] for card in cards if card["draw"] == FRESH + 1}
    references = {state_digest(load(path).state) for path in (cache / "models").glob("reference-*.safetensors")}
    assert references & victims
    assert summary(confirmed)["victim_sha256"] in victims


def test_draw_whose_teacher_diverges_does_not_end_the_confirmation(
    options: list[str],
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(finished, tmp_path / "s")
    real = teachers.teacher_or_why
    lost = teachers.__dict__["load_entry"]

    def no_cache_for_draw_one(path):
        found = lost(path)
        return None if found is not None and found.card.get("draw") == FRESH + 1 else found

    def diverge(which, workloads):
        return (
            "the teacher's fine-tuning diverged: its loss was nan in epoch 3"
            if which[0] == FRESH + 1
            else real(which, workloads)
        )

    monkeypatch.setattr(teachers, "load_entry", no_cache_for_draw_one)
    monkeypatch.setattr(
        tasks,
        "run_tasks",
        lambda function, arguments, *, payload, on_done=None, **_: [
            done(on_done, index, (diverge if function is real else function)(argument, payload))
            for index, argument in enumerate(arguments)
        ],
    )
    monkeypatch.setattr(allocation, "recommended", lambda *_: 1)  # nad-paper: fine-tuning needs no teacher
    assert main([*options, "--confirm", "2", "--output", str(tmp_path)]) == 0
    point = summary(tmp_path / "s")["recommended"]
    assert (point["test"]["seeds"], point["test"]["diverged"]) == (1, 1)
    assert (point["clean_model"]["after"]["seeds"], point["clean_model"]["after"]["diverged"]) == (1, 1)
    assert "draw 1001, is lost" in " ".join(capsys.readouterr().out.split())


def done(on_done, index, result):
    if on_done is not None:
        on_done(index, result)
    return result
