"""The whole study from the command line: a real Ray, a real SQLite file, real images, small ones."""

import json
import math
import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
from studies import complete_trials, scores, summary, table

import search_spaces
from nad.attacks import ATTACKS
from nad.models import distillation_layers
from search_spaces import Domain
from search_spaces.portfolio import RECIPES
from study.run import main

pytestmark = pytest.mark.usefixtures("ray_started")

SUMMARY_KEYS = {
    *("study", "attack", "dataset", "model", "teacher_model", "seed", "command", "versions", "victim", "trials"),
    *("seconds", "hypervolume", "front", "controls", "recommended", "recommended_why", "wanted_trials", "max_acc_drop"),
}


def test_study_leaves_its_report_and_its_records(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} >= {
        *(
            "study.db",
            "config.json",
            "trials.csv",
            "trials.parquet",
            "summary.json",
            "report.html",
            "summary.md",
            "attack.png",
        )
    }
    assert (finished.stat().st_mode & 0o077, (finished / "study.db").stat().st_mode & 0o077) == (0, 0)


CONTROLS = {"no-defence", "fine-tuning", "nad-paper", "nad-code", "fine-tuning-low-lr", "nad-low-lr"}


def test_summary_has_what_other_programs_read(finished: Path) -> None:
    found = summary(finished)
    assert found.keys() >= SUMMARY_KEYS
    assert found["trials"] == {"complete": 6, "failed": 0, "pruned": 0, "running": 0}
    assert found["seconds"].keys() == {"victim", "teachers", "trials", "baselines", "confirmation", "total"}
    assert {control["name"] for control in found["controls"]} == CONTROLS
    for point in [*found["front"], *found["controls"]]:
        assert {"number", "params", "validation", "test", "twin"} <= point.keys()
        assert 0 <= point["validation"]["asr"] <= 1
    assert 0 < found["hypervolume"] <= 1


def test_summary_says_in_how_many_threads_the_victim_was_trained(finished: Path) -> None:
    found, epochs, batch = summary(finished), 12, 128
    assert found["victim_threads"] == {"1": epochs * math.ceil(found["counts"]["victim_train"] / batch)}


def test_record_agrees_with_the_storage(finished: Path) -> None:
    rows = table(finished).set_index("number")
    for trial in complete_trials(finished):
        assert tuple(rows.loc[trial.number, ["asr", "acc"]]) == tuple(trial.values)
        setting = trial.user_attrs["setting"]
        assert {name: rows.loc[trial.number, f"params_{name}"] for name in setting} == setting
        assert rows.loc[trial.number, "draw"] == trial.user_attrs["draw"]


def test_record_says_what_guessing_would_score(finished: Path) -> None:
    assert summary(finished)["guess"] == {"acc": 0.25, "balanced_acc": pytest.approx(0.325)}


def test_every_epoch_of_a_trial_is_on_record(finished: Path) -> None:
    for row in table(finished).itertuples():
        assert len(json.loads(row.curve)) == row.params_epochs


def test_controls_are_asked_before_the_sampler(finished: Path) -> None:
    layers = distillation_layers("wrn-10-1")
    domain = Domain(layers, (0.1, 0.2), dict.fromkeys(layers, 1.0))
    rows = table(finished).sort_values("number")
    asked = [(name, point.values(layers)) for name, point in search_spaces.get("nad").controls(domain)]
    assert list(rows["control"][: len(asked)]) == [name for name, _setting in asked]
    for (_name, setting), (_, row) in zip(asked, rows.iterrows(), strict=False):
        assert {name: row[f"params_{name}"] for name in setting} == setting


def test_references_are_looked_at_on_three_draws_and_leaders_again(options: list[str], tmp_path: Path) -> None:
    whole = [*options, "--trials", "24", "--sampler", "tpe", "--output", str(tmp_path), "--name", "s"]
    assert main(whole) == 0
    rows, settings = table(tmp_path / "s").sort_values("number"), pd.read_csv(tmp_path / "s" / "settings.csv")
    draws = settings.set_index("setting")["draws"]
    assert rows.groupby("setting")["draw"].apply(list).map(lambda found: found == list(range(len(found)))).all()
    for name in ("fine-tuning", "nad-paper"):
        assert draws[rows.loc[rows["control"] == name, "setting"].iloc[0]] >= 3
    portfolio = rows[rows["portfolio"].notna()]
    assert len(portfolio) == len(RECIPES)
    first_new = rows[rows["control"].isna() & rows["portfolio"].isna() & (rows["draw"] == 0)]["number"]
    assert portfolio["number"].max() < first_new.min()
    assert draws.sum() == len(rows) == 24
    assert draws.max() <= 8
    assert (rows["draw"] > 0).sum() >= 6
    assert main(whole) == 0
    assert len(table(tmp_path / "s")) == 24, "nothing is left to do"


@pytest.mark.slow
def test_study_with_teachers_of_another_architecture(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Search, erased model, picture and confirmation; the same study cannot go on with other teachers."""
    begun = [*options, "--victim-epochs", "2", "--trials", "3", "--output", str(tmp_path), "--name", "s"]
    assert main([*begun, "--teacher-model", "wrn-10-2", "--confirm", "1", "--max-acc-drop", "1"]) == 0
    folder = tmp_path / "s"
    found = summary(folder)
    assert (found["model"], found["teacher_model"]) == ("wrn-10-1", "wrn-10-2")
    assert found["recommended"]["clean_model"]["after"]["seeds"] == 1
    assert {path.name for path in (folder / "models").iterdir()} >= {"recommended.safetensors"}
    assert (folder / "attention.png").exists()
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{folder}/study.db")
    assert study.user_attrs["teacher_victim_sha256"] != study.user_attrs["victim_sha256"]
    assert main(begun) == 2
    assert "was made with teacher model wrn-10-2 (now null)" in capsys.readouterr().err


def test_front_and_recommendation_follow_from_the_settings(finished: Path) -> None:
    found, rows = summary(finished), pd.read_csv(finished / "settings.csv")
    assert set(rows[rows["front"]]["setting"]) == {point["number"] for point in found["front"]}
    reliable = rows[rows["reliability"] >= 0.5] if (rows["reliability"] >= 0.5).any() else rows
    for point in found["front"]:
        asr, acc = point["validation"]["asr"], point["validation"]["acc"]
        better = (reliable.asr <= asr) & (reliable.acc >= acc) & ((reliable.asr < asr) | (reliable.acc > acc))
        assert not better.any()
    victim, drop = found["victim"], found["max_acc_drop"] + 1e-9
    kept = reliable[reliable.acc >= victim["acc"] - drop]
    kept = kept[kept.balanced_acc >= victim["balanced_acc"] - drop]
    best = kept.sort_values(["asr", "acc"], ascending=[True, False]).iloc[0]
    assert len(kept) < len(rows), "the bound decides"
    assert found["recommended"]["number"] == best.setting
    assert found["recommended"]["validation"]["asr"] == pytest.approx(best.asr)
    assert rows.set_index("setting").loc[best.setting, "recommended"]


def test_same_seed_gives_bit_identical_scores_however_many_trials_run_at_once(
    options: list[str], finished: Path, tmp_path: Path
) -> None:
    anew = [*options, "--cache", str(tmp_path / "cache"), "--workers", "2"]
    assert main([*anew, "--trials", "6", "--output", str(tmp_path), "--name", "again"]) == 0
    assert summary(tmp_path / "again")["victim_sha256"] == summary(finished)["victim_sha256"]
    assert scores(tmp_path / "again") == scores(finished)


@pytest.mark.slow
def test_attack_that_is_made_on_a_clean_model_is_studied_and_goes_on(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = "trojan"
    given = [attack if value == "badnets" else value for value in options]
    given += ["--attack-args", "steps=2", "--label-mode", "all-to-all", "--output", str(tmp_path)]
    assert main([*given, "--trials", "4"]) == 0
    found = summary(tmp_path / f"{attack}-folder")
    assert found["attack_settings"]["steps"] == 2
    assert "target" not in found["attack_settings"]
    rows = table(tmp_path / f"{attack}-folder")
    assert (rows.acc_non_target == rows.acc).all()
    assert "the same as ACC, since every class is attacked" in (tmp_path / f"{attack}-folder/report.html").read_text()
    monkeypatch.setattr(ATTACKS[attack], "craft", lambda *arguments: pytest.fail("it is in the cache"))
    assert main([*given, "--trials", "5"]) == 0
    assert summary(tmp_path / f"{attack}-folder")["trials"]["complete"] == 5


def test_time_budget_ends_a_study_early_and_keeps_what_is_done(options: list[str], tmp_path: Path) -> None:
    assert main([*options, "--trials", "500", "--time-budget", "3s", "--output", str(tmp_path)]) == 0
    found = summary(tmp_path / "badnets-folder")
    assert 0 < found["trials"]["complete"] < 500
    assert found["trials"]["running"] == 0
    assert "unfinished" in (tmp_path / "badnets-folder" / "report.html").read_text()


def test_two_commands_of_the_readme_exist() -> None:
    for module in ("study.run", "reports.build"):
        done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "usage" in done.stdout.lower()
