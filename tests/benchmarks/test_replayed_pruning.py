"""The replay of `python -m benchmarks.pruning` against a plain loop, and on tables that it cannot take."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.pruning import OURS, RULES, Arguments, Erase, Rule, judge, main, order_of, read_table, replay
from nad.errors import ConfigError
from study.search.halving import Halving, Seen


def erases(count: int = 40, controls: int = 3) -> list[Erase]:
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        epochs = int(rng.integers(2, 21))
        curve = rng.random((epochs, 2)).round(2)
        found.append(Erase(curve, curve[-1], 3, float(epochs * rng.uniform(0.5, 2)), number < controls))
    return found


def one_after_another(order: list[Erase], rule: Rule) -> list[int]:
    """Epochs that each trial runs, with one worker."""
    halving = Halving(floor=-1.0, rungs=rule.rungs, eta=rule.eta)
    before: list[Seen] = []
    ran = []
    for erase in order:
        for done in range(1, erase.epochs + 1):
            curve = erase.curve[:done]
            seen = Seen(curve, erase.epochs, erase.settled, done == erase.epochs, 1 - curve[-1, 1])
            if not erase.control and halving.objection(seen, before):
                break
        before.append(seen)
        ran.append(done)
    return ran


def test_one_worker_is_a_plain_loop() -> None:
    order = erases()
    rule = Rule("", (4, 8, 16), 2.0)
    found = replay(order, rule, workers=1, floor=-1.0)
    assert [found.epochs[number] for number in range(len(order))] == one_after_another(order, rule)
    assert sum(found.epochs.values()) < 0.9 * sum(erase.epochs for erase in order)


def test_a_trial_is_compared_with_what_was_there_by_then() -> None:
    """The second worker's trial passes the rung before the first one's does, which is then the worse of two."""
    bad, good = np.full((5, 2), 0.9), np.full((5, 2), 0.1)
    slow, quick = Erase(bad, bad[-1], 1, 50.0, False), Erase(good, good[-1], 1, 5.0, False)
    rule = Rule("", (4,), 2.0)
    assert replay([slow, quick], rule, workers=2, floor=-1.0).epochs == {0: 4, 1: 5}
    assert replay([slow, quick], rule, workers=1, floor=-1.0).epochs == {0: 5, 1: 5}
    assert replay([slow._replace(control=True), quick], rule, workers=2, floor=-1.0).complete == [1, 0]


def test_a_rule_without_rungs_costs_and_saves_nothing() -> None:
    found = judge(erases(), Rule("", (), 2.0, floor=False), Arguments(Path(), seeds=3, trials=30))
    assert (found["epochs"], found["seconds"], found["hypervolume"], found["pruned trials"]) == (1, 1, 1, 0)
    assert found["hypervolume of fewer trials"] == 1


def test_ratios_are_those_of_the_replays() -> None:
    arguments = Arguments(Path(), seeds=1, trials=30)
    order = order_of(erases(), 30, seed=0)
    assert [erase.control for erase in order[:4]] == [True, True, True, False]
    ran = replay(order, OURS, workers=2, floor=0.16)
    found = judge(erases(), OURS, arguments)
    assert found["epochs"] == pytest.approx(sum(ran.epochs.values()) / sum(erase.epochs for erase in order), abs=1e-4)
    assert found["pruned trials"] == 30 - len(ran.complete)
    assert 0 < found["hypervolume"] <= 1


def table(folder: Path, rows: list[dict[str, Any]]) -> Path:
    names = ("number", "state", "control", "asr", "acc", "acc_non_target", "recovery_acc", "replicate", "seed")
    names += ("started", "seconds", "compute_seconds", "host", "error", "traceback", "curve", "params_schedule")
    path = folder / "trials.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def row(number: int, **changes: Any) -> dict[str, Any]:
    curve = json.dumps([[0.9, 0.5], [0.4, 0.7]])
    scores = {"asr": 0.5, "acc": 0.6, "compute_seconds": 4.0, "curve": curve, "params_schedule": "code"}
    return {"number": number, "state": "COMPLETE", **scores, **changes}


def test_table_is_read_as_costs(tmp_path: Path) -> None:
    path = table(tmp_path, [row(0, control="nad-code"), row(1), row(2, state="FAIL", asr="", acc="")])
    first, second = read_table(path)
    assert (first.control, second.control, second.seconds, second.settled) == (True, False, 4.0, 3)
    assert second.curve == pytest.approx(np.array([[0.9, 0.5], [0.4, 0.3]]))
    assert second.final == pytest.approx([0.5, 0.4])


def test_table_that_it_cannot_replay_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has pruned trials"):
        read_table(table(tmp_path, [row(0), row(1, state="PRUNED", asr="", acc="")]))
    with pytest.raises(ConfigError, match="has 2 complete trials, fewer than --trials 60; lower that"):
        main(Arguments(table(tmp_path, [row(0), row(1)])))


def test_last_line_is_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = replace(Arguments(table(tmp_path, [row(number) for number in range(8)])), trials=8, seeds=2)
    main(arguments)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [rule["rule"] for rule in found["rules"]] == [rule.name for rule in RULES]
    assert found["table"] == 8
