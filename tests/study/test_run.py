"""The whole study from the command line: a real Ray, a real SQLite file, real images, small ones."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
from filelock import FileLock
from optuna.trial import TrialState

import search_spaces
from nad.attacks import ATTACKS
from nad.evaluation import Scores
from nad.models import distillation_layers
from reports import convergence
from search_spaces import Domain
from study import engine
from study.halving import RUNGS
from study.run import main

SUMMARY_KEYS = {
    *("study", "attack", "dataset", "model", "seed", "command", "versions", "victim", "trials", "seconds"),
    *("hypervolume", "front", "controls", "recommended", "recommended_why", "wanted_trials", "max_acc_drop"),
}


@pytest.fixture(scope="module")
def options(image_folder, cache):
    """Everything but what a test is about."""
    return [
        *("--attack", "badnets", "--dataset", "folder", "--data-dir", str(image_folder), "--image-size", "16"),
        *("--model", "wrn-10-1", "--poison-rate", "0.3", "--victim-epochs", "12", "--clean-fractions", "0.1", "0.2"),
        *("--sampler", "random", "--allow-weak-backdoor", "--cache", str(cache), "--workers", "2"),
        *("--confirm", "0"),
    ]


@pytest.fixture(scope="module")
def finished(options, tmp_path_factory):
    """A study of six trials."""
    output = tmp_path_factory.mktemp("runs")
    assert main([*options, "--trials", "6", "--output", str(output), "--name", "s"]) == 0
    return output / "s"


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "trials.csv")


def complete_trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{folder}/study.db")
    return study.get_trials(states=(TrialState.COMPLETE,))


def scores(folder: Path) -> dict[str, tuple[float, ...]]:
    """Scores of each point: parameters and seed to everything that was measured."""
    rows = table(folder)
    named = [name for name in rows if name.startswith("params_")] + ["seed"]
    measured = list(Scores._fields)
    return {row[named].to_json(): tuple(row[measured]) for _, row in rows[rows.state == "COMPLETE"].iterrows()}


def test_study_leaves_its_report_and_its_records(finished):
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


def test_summary_has_what_other_programs_read(finished):
    found = summary(finished)
    assert found.keys() >= SUMMARY_KEYS
    assert found["trials"] == {"complete": 6, "failed": 0, "pruned": 0, "running": 0}
    assert found["seconds"].keys() == {"victim", "teachers", "trials", "confirmation", "total"}
    assert {control["name"] for control in found["controls"]} == {"no-defence", "fine-tuning", "nad-paper", "nad-code"}
    for point in [*found["front"], *found["controls"]]:
        assert {"number", "params", "validation", "test", "twin"} <= point.keys()
        assert 0 <= point["validation"]["asr"] <= 1
    assert 0 < found["hypervolume"] <= 1


def test_record_agrees_with_the_storage(finished):
    rows = table(finished).set_index("number")
    for trial in complete_trials(finished):
        assert tuple(rows.loc[trial.number, ["asr", "acc"]]) == tuple(trial.values)
        assert rows.loc[trial.number, "params_epochs"] == trial.params["epochs"]


def test_record_says_which_trials_keep_enough_accuracy(finished):
    found = summary(finished)
    for trial in complete_trials(finished):
        lost = found["victim"]["acc"] - trial.values[1]
        assert trial.constraints == {"acc_drop": pytest.approx(lost - found["max_acc_drop"])}


def test_controls_are_asked_before_the_sampler(finished):
    space = search_spaces.get("nad")
    domain = Domain(distillation_layers("wrn-10-1"), (0.1, 0.2))
    rows = table(finished).sort_values("number")
    asked = [params for _name, params in space.controls(domain)]
    for params, (_, row) in zip(asked, rows.iterrows(), strict=False):
        assert {name: row[f"params_{name}"] for name in params} == params


def test_confirmation_goes_on_from_a_finished_study_and_is_made_once(options, finished, tmp_path, monkeypatch):
    folder = tmp_path / "s"
    shutil.copytree(finished, folder)
    again = [*options, "--trials", "6", "--confirm", "2", "--output", str(tmp_path), "--name", "s"]
    assert main(again) == 0
    found = summary(folder)
    assert found["trials"]["complete"] == 6
    for control in found["controls"]:
        assert control["test"]["seeds"] == (1 if control["name"] == "no-defence" else 2)
        assert control["test"]["asr_ci"][0] <= control["test"]["asr"] <= control["test"]["asr_ci"][1]
        assert (control["twin"] is not None) == control["name"].startswith("nad")
    assert found["seconds"]["confirmation"] > 0
    assert "test ASR" in (folder / "report.html").read_text()
    assert all(point["test"]["seeds"] == 2 for point in (found["front"][0], found["front"][-1]))
    monkeypatch.setattr(engine, "run_tasks", lambda *arguments, **options: pytest.fail("nothing is left to run"))
    assert main(again) == 0
    assert summary(folder)["controls"] == found["controls"]


def test_victim_that_was_lost_and_came_out_otherwise_is_refused(options, finished, tmp_path, capsys):
    folder = tmp_path / "s"
    shutil.copytree(finished, folder)
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{folder}/study.db")
    study.set_user_attr("victim_sha256", "0" * 64)
    assert main([*options, "--trials", "6", "--output", str(tmp_path), "--name", "s"]) == 2
    assert "was made on the victim 000000000000..., which is no longer in the cache" in capsys.readouterr().err


def test_front_and_recommendation_follow_from_the_trials(finished):
    found, rows = summary(finished), table(finished)
    for point in found["front"]:
        asr, acc = point["validation"]["asr"], point["validation"]["acc"]
        better = (rows.asr <= asr) & (rows.acc >= acc) & ((rows.asr < asr) | (rows.acc > acc))
        assert not better.any()
    allowed = rows[rows.acc >= found["victim"]["acc"] - 0.03 - 1e-9]
    expected = None if allowed.empty else allowed.asr.min()
    recommended = found["recommended"] and found["recommended"]["validation"]["asr"]
    assert recommended == expected


def test_study_that_goes_on_with_pruning_counts_what_it_stopped(options, finished, tmp_path):
    folder = tmp_path / "s"
    shutil.copytree(finished, folder)
    assert main([*options, "--prune", "--trials", "14", "--output", str(tmp_path), "--name", "s"]) == 0
    counts, rows = summary(folder)["trials"], table(folder)
    assert counts["pruned"] > 0
    assert counts == {"complete": 14 - counts["pruned"], "failed": 0, "pruned": counts["pruned"], "running": 0}
    pruned = rows[rows.state == "PRUNED"]
    assert pruned.control.isna().all()
    for row in pruned.itertuples():
        ran = len(json.loads(row.curve))
        assert row.error.startswith(f"after {ran} of {row.params_epochs} epochs")
        assert ran in RUNGS or "no better than chance" in row.error
    assert not {point["number"] for point in summary(folder)["front"]} & set(pruned.number)
    page = (folder / "report.html").read_text()
    assert f"{counts['pruned']} of 14 trials were pruned" in page
    assert "unfinished" not in page


def test_every_epoch_of_a_trial_is_on_record(finished):
    for row in table(finished).itertuples():
        assert len(json.loads(row.curve)) == row.params_epochs


def test_same_command_goes_on_and_more_trials_extend(options, finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "s")
    before = scores(finished)
    assert main([*options, "--trials", "6", "--output", str(tmp_path), "--name", "s"]) == 0
    assert scores(tmp_path / "s") == before
    assert main([*options, "--trials", "8", "--output", str(tmp_path), "--name", "s"]) == 0
    after = scores(tmp_path / "s")
    assert len(after) == 8
    assert before.items() <= after.items()


def test_same_seed_gives_bit_identical_scores(options, finished, tmp_path, image_folder):
    options = [
        str(tmp_path / "cache") if value == options[options.index("--cache") + 1] else value for value in options
    ]
    assert main([*options, "--trials", "6", "--output", str(tmp_path), "--name", "again"]) == 0
    assert summary(tmp_path / "again")["victim_sha256"] == summary(finished)["victim_sha256"]
    assert scores(tmp_path / "again") == scores(finished)


def test_attack_that_is_made_on_a_clean_model_is_studied_and_goes_on(options, tmp_path, monkeypatch):
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


def test_time_budget_ends_a_study_early_and_keeps_what_is_done(options, tmp_path):
    assert main([*options, "--trials", "500", "--time-budget", "3s", "--output", str(tmp_path)]) == 0
    found = summary(tmp_path / "badnets-folder")
    assert 0 < found["trials"]["complete"] < 500
    assert found["trials"]["running"] == 0
    assert "unfinished" in (tmp_path / "badnets-folder" / "report.html").read_text()


def test_converged_study_stops_and_says_so_until_the_option_is_left_out(
    options, finished, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(convergence, "LEAST_TRIALS", 8)
    shutil.copytree(finished, tmp_path / "s")
    again = [*options, "--trials", "90", "--output", str(tmp_path), "--name", "s"]
    for _ in range(2):
        capsys.readouterr()
        assert main([*again, "--until-converged"]) == 0
        found = summary(tmp_path / "s")
        done = found["trials"]["complete"]
        assert 8 <= done < 90
        assert f"stopped by itself after {done} complete trials" in found["stopped"]
        assert found["stopped"] in capsys.readouterr().out
        for file in ("report.html", "summary.md"):
            text = (tmp_path / "s" / file).read_text()
            assert found["stopped"] in text
            assert "unfinished" not in text
    assert main([*again[:-6], "--trials", str(done + 1), *again[-4:]]) == 0
    assert summary(tmp_path / "s")["trials"]["complete"] == done + 1
    assert summary(tmp_path / "s")["stopped"] is None


def test_warm_start_asks_an_earlier_study_s_best_right_after_the_controls(options, finished, tmp_path, capsys):
    again = [*options, "--output", str(tmp_path), "--name", "next", "--warm-start", str(finished)]
    best = [point["params"] for point in summary(finished)["front"]]
    for trials in ("6", "7"):
        assert main([*again, "--trials", trials]) == 0
        assert "warm start: settings of earlier studies that are asked once" in capsys.readouterr().out
    rows = table(tmp_path / "next").sort_values("number")
    controls = int(rows["control"].notna().sum())
    assert list(rows["warm_start"].dropna().unique()) == ["s"]
    warm = rows[rows["warm_start"].notna()]
    assert list(warm["number"]) == list(range(controls, controls + len(warm)))
    params = [name for name in rows if name.startswith("params_")]
    assert not warm.duplicated(params).any()
    control_points = [control["params"] for control in summary(finished)["controls"]]
    for setting in (setting for setting in best if setting not in control_points):
        assert any({name: row[f"params_{name}"] for name in setting} == setting for _, row in warm.iterrows())


def test_warm_start_from_a_folder_without_a_study_is_refused_before_anything_is_made(options, tmp_path, capsys):
    sentence = refused(capsys, *options, "--output", str(tmp_path), "--warm-start", str(tmp_path / "none"))
    assert f"--warm-start: there is no folder '{tmp_path}/none'" in sentence
    assert list(tmp_path.iterdir()) == []


def test_two_commands_of_the_readme_exist():
    for module in ("study.run", "reports.build"):
        done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "usage" in done.stdout.lower()


# What bad input gets: one sentence, exit code 2, nothing lost.


def refused(capsys, *arguments: str) -> str:
    """The sentence with which a command ends."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    return error


def test_resuming_with_other_settings_lists_what_differs(options, finished, capsys):
    before = {path.name: path.read_bytes() for path in finished.iterdir() if path.suffix in (".json", ".csv", ".html")}
    changed = [*options, "--seed", "5", "--space", "nad-wide", "--output", str(finished.parent), "--name", "s"]
    sentence = refused(capsys, *changed)
    assert "seed 0 (now 5)" in sentence
    assert "space nad (now nad-wide)" in sentence
    assert "another --name" in sentence
    assert before == {name: (finished / name).read_bytes() for name in before}


def test_second_run_of_a_running_study_is_refused(options, finished, capsys):
    with FileLock(finished / "study.lock"):
        sentence = refused(capsys, *options, "--output", str(finished.parent), "--name", "s")
    assert "'s' is being run by another process" in sentence


def test_target_that_does_not_exist(options, tmp_path, capsys):
    sentence = refused(capsys, *options, "--target", "7", "--output", str(tmp_path))
    assert "target label 7 does not exist: folder has the labels 0 to 3" in sentence


def test_weak_backdoor_is_refused_before_any_trial(options, tmp_path, capsys):
    strict = [option for option in options if option != "--allow-weak-backdoor"]
    sentence = refused(capsys, *strict, "--poison-rate", "0.01", "--victim-epochs", "1", "--output", str(tmp_path))
    assert "the backdoor did not take" in sentence
    assert not (tmp_path / "badnets-folder" / "study.db").exists()


def test_settings_can_be_mended_after_a_refusal(options, tmp_path, capsys):
    strict = [option for option in options if option != "--allow-weak-backdoor"]
    refused(capsys, *strict, "--poison-rate", "0.01", "--victim-epochs", "1", "--output", str(tmp_path))
    sentence = refused(capsys, *strict, "--poison-rate", "0.02", "--victim-epochs", "1", "--output", str(tmp_path))
    assert "the backdoor did not take" in sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--attack", "reful"], "unknown attack 'reful'; did you mean 'refool'"),
        (["--reflections", "."], "attack 'badnets' has no setting 'reflections'"),
        (["--clean-fractions", "0.99"], "a clean fraction of 0.99 asks for 198 images"),
        (["--clean-fractions", "0.001"], "clean fraction of 0.001"),
        (["--poison-rate", "0.0001"], "asks for 0 poisoned images"),
        (["--cpus-per-trial", "4000"], "4000 CPUs"),
        (["--gpus-per-trial", "3"], "3 GPUs"),
    ],
)
def test_bad_settings(options, tmp_path, capsys, arguments, sentence):
    cpus = [option for option in options if option not in ("--workers", "2")]
    assert sentence in refused(capsys, *cpus, *arguments, "--output", str(tmp_path))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (shutil.rmtree, "--data-dir|there is no|does not exist"),
        (lambda root: shutil.rmtree(root / "test"), "test"),
        (lambda root: [path.unlink() for path in root.rglob("*.png")], "no image"),
        (
            lambda root: [shutil.rmtree(root / part / f"class{n}") for part in ("train", "test") for n in (1, 2, 3)],
            "one",
        ),
        (lambda root: (root / "train" / "class0" / "0.png").write_bytes(b"no image at all"), r"0\.png"),
    ],
    ids=["no folder", "no test part", "no images", "one class", "unreadable image"],
)
def test_bad_image_folders(options, image_folder, tmp_path, capsys, spoil, sentence):
    import re

    root = tmp_path / "images"
    shutil.copytree(image_folder, root)
    spoil(root)
    arguments = [str(root) if value == str(image_folder) else value for value in options]
    assert re.search(sentence, refused(capsys, *arguments, "--output", str(tmp_path / "runs")))


def test_output_that_cannot_be_written(options, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    sentence = refused(capsys, *options, "--output", str(tmp_path / "file"))
    assert "choose another --output" in sentence


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a file system that not even root may write to")
def test_read_only_output(options, capsys):
    assert "choose another --output" in refused(capsys, *options, "--output", "/sys/kernel")


def test_full_disk_is_noticed_before_anything_slow(options, tmp_path, capsys, monkeypatch):
    usage = shutil._ntuple_diskusage(total=10**9, used=10**9 - 10**6, free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    sentence = refused(capsys, *options, "--output", str(tmp_path))
    assert "has 1 MB left" in sentence


def test_disk_that_fills_up_during_the_study_loses_nothing(options, finished, tmp_path, capsys, monkeypatch):
    shutil.copytree(finished, tmp_path / "s")

    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device", "summary.json")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        assert "No space left on device" in refused(capsys, *options, "--output", str(tmp_path), "--name", "s")
    assert main([*options, "--trials", "6", "--output", str(tmp_path), "--name", "s"]) == 0
    assert scores(tmp_path / "s") == scores(finished)


def test_unknown_option_is_exit_code_2(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--atack", "refool"])
    assert caught.value.code == 2
    assert "--atack" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nothing-here", "config-only"])
def test_report_of_an_empty_study(name, tmp_path, capsys):
    from reports.build import main as build

    if name == "config-only":
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    assert build([str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert name in error
    assert error.count("\n") == 1
