from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.files import ReportError
from reports.study_folder import CleanModel, read_study
from reports.summary_schema import Summary

Make = Callable[..., Path]
REQUIRED = [name for name, field in Summary.model_fields.items() if field.is_required()]


def test_victim_controls_and_recommendation_are_points(make_study: Make) -> None:
    study = read_study(make_study())
    assert (study.victim.number, study.victim.scores.asr) == (None, 0.9339)
    assert [control.name for control in study.controls] == ["fine-tuning", "nad-paper", "nad-code", "fine-tuning"]
    assert study.recommended is not None
    assert study.recommended.scores.acc >= study.least_acc


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_of_the_summary_is_named(make_study: Make, key: str) -> None:
    folder = make_study(change=lambda _, summary: summary.pop(key))
    with pytest.raises(ReportError, match=f"summary.json' has no '{key}'"):
        read_study(folder)


def _set(path: str, value: Any) -> Callable[[Any, Any], None]:
    def change(_rows: Any, summary: Any) -> None:
        *way, last = path.split(".")
        for key in way:
            summary = summary[int(key) if key.isdigit() else key]
        summary[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("victim.asr", "high", "has 'high' at 'victim.asr'"),
        ("victim.acc", 78.2, "has 78.2 at 'victim.acc', outside its range"),
        ("victim.acc", float("nan"), "has nan at 'victim.acc', outside its range"),
        ("controls.1.validation", None, "no object at 'controls[1].validation'"),
        ("recommended.number", None, "has 'None' at 'recommended.number'"),
        ("recommended", {}, "has no 'recommended.number'"),
        ("seconds.total", "long", "has 'long' at 'seconds.total'"),
        ("stopped", 24, "has '24' at 'stopped'"),
        ("wanted_trials", None, "has 'None' at 'wanted_trials'"),
    ],
)
def test_a_wrong_value_of_the_summary_is_named(make_study: Make, path: str, value: Any, sentence: str) -> None:
    folder = make_study(change=_set(path, value))
    with pytest.raises(ReportError) as caught:
        read_study(folder)
    assert sentence in str(caught.value)


def _clean_model(seeds: int = 3) -> dict[str, Any]:
    scores = {"asr": 0.02, "acc": 0.84, "asr_ci": [0.01, 0.04], "acc_ci": [0.82, 0.86], "seeds": 1, "diverged": 0}
    nothing = dict.fromkeys(("asr", "acc", "asr_ci", "acc_ci"))
    after = {**scores, "acc": 0.829, "seeds": seeds} if seeds else {**nothing, "seeds": 0, "diverged": 3}
    change = (
        {"acc_change": -0.011, "acc_change_ci": [-0.02, -0.002]}
        if seeds
        else dict.fromkeys(("acc_change", "acc_change_ci"))
    )
    return {"before": scores, "after": after, **change}


def test_what_the_erase_costs_a_clean_model_is_read(make_study: Make) -> None:
    study = read_study(make_study(change=_set("recommended.clean_model", _clean_model())))
    assert study.recommended is not None
    assert study.recommended.clean_model == CleanModel(0.02, (), 0.84, 0.829, 3, -0.011, (-0.02, -0.002))


@pytest.mark.parametrize("value", [None, _clean_model(seeds=0)])
def test_clean_model_without_a_finished_run_is_none(make_study: Make, value: Any) -> None:
    study = read_study(make_study(change=_set("recommended.clean_model", value)))
    assert study.recommended is not None
    assert study.recommended.clean_model is None


@pytest.mark.parametrize(
    ("key", "value"), [("acc_change", -1.5), ("acc_change_ci", [0.1]), ("after.acc", "high"), ("before", None)]
)
def test_a_wrong_value_of_the_clean_model_is_named(make_study: Make, key: str, value: Any) -> None:
    def change(rows: Any, summary: Any) -> None:
        summary["recommended"]["clean_model"] = _clean_model()
        _set(f"recommended.clean_model.{key}", value)(rows, summary)

    with pytest.raises(ReportError, match=f"recommended.clean_model.{key}"):
        read_study(make_study(change=change))


@pytest.mark.parametrize("name", ["summary.json", "config.json"])
@pytest.mark.parametrize("content", [b'{"study": "a', b"[1]", b"\xff\xfe", b""])
def test_damaged_json_is_refused(make_study: Make, name: str, content: bytes) -> None:
    folder = make_study()
    (folder / name).write_bytes(content)
    with pytest.raises(ReportError, match=name):
        read_study(folder)


def test_the_picture_may_be_missing_but_not_something_else(make_study: Make) -> None:
    folder = make_study()
    (folder / "attack.png").write_text("<svg/>")
    with pytest.raises(ReportError, match="not a PNG"):
        read_study(folder)
    (folder / "attack.png").unlink()
    assert read_study(folder).picture is None


def test_documented_keys_are_those_that_are_read() -> None:
    text = (Path(__file__).parents[2] / "docs" / "summary.md").read_text(encoding="utf-8")
    missing = [
        field.alias or key for key, field in Summary.model_fields.items() if f"`{field.alias or key}`" not in text
    ]
    assert not missing


@pytest.mark.parametrize(
    ("runs", "sentence"),
    [
        ({}, "has no list at 'controls[1].test.runs'"),
        ([{"draw": 1, "asr": 0.5}], "has no 'controls[1].test.runs[0].acc'"),
        ([{"draw": 1, "asr": 0.5, "acc": 1.5}], "has 1.5 at 'controls[1].test.runs[0].acc', outside its range"),
    ],
)
def test_single_runs_that_cannot_be_are_named(make_study: Make, confirm: Any, runs: Any, sentence: str) -> None:
    def change(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
        confirm(rows, summary)
        summary["controls"][1]["test"]["runs"] = runs

    with pytest.raises(ReportError, match=re.escape(sentence)):
        read_study(make_study(change=change))


def test_points_of_the_front_are_checked_too(make_study: Make) -> None:
    def change(_rows: Any, summary: dict[str, Any]) -> None:
        summary["front"] = [{"number": 3, "params": {}, "validation": {"asr": 0.5, "acc": 7}}]

    with pytest.raises(ReportError, match=re.escape("has 7 at 'front[0].validation.acc', outside its range")):
        read_study(make_study(change=change))


def test_a_newer_schema_asks_for_a_newer_version(make_study: Make) -> None:
    folder = make_study(change=lambda _, summary: summary.update(schema=2))
    with pytest.raises(ReportError, match="has schema 2; this version reads 1: update nad-study"):
        read_study(folder)


def test_unknown_keys_are_kept(make_study: Make) -> None:
    summary = read_study(make_study(change=lambda _, summary: summary.update(later=[1]))).summary
    assert summary.model_dump()["later"] == [1]
