"""A killed driver's mark in a record."""

from __future__ import annotations

import dataclasses
from typing import Any

import optuna

from study.record.driver import Driver


def mark_of(study: optuna.Study) -> Any:
    return study._storage.get_study_system_attrs(study._study_id).get("driver")


def earlier() -> str:
    """Start time of an ended process of this boot."""
    return f"{Driver.current().born.partition(':')[0]}:0"


def leave_mark(study: optuna.Study, **changes: Any) -> Driver:
    """Record of a killed driver."""
    driver = dataclasses.replace(Driver.current(), **changes)
    mark = {**driver.facts(), "token": "other", "term": 9, "count": 7}
    study._storage.set_study_system_attr(study._study_id, "driver", mark)
    return driver
