"""Points that are asked before any that the sampler proposes: by name, or again, because their trial was lost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, cast

import optuna
from optuna.trial import FrozenTrial, TrialState

STOPPED = "the study was stopped while this trial ran"
MAX_RESTARTS = 10  # of one point in whose trial the study's process ends: it may be the trial's doing
_COUNTS = ("retry", "restart")
_ASKED_WITH = "asked_with"  # system attribute: the user attributes that a point was enqueued with


def enqueue(study: optuna.study.Study, params: Mapping[str, Any], user_attrs: Mapping[str, Any]) -> None:
    """Ask this point before any that the sampler proposes; once per study, however often this is called.

    params: all of the point's parameters, or some; the sampler draws the others.
    user_attrs: go with the trial, and with a retry of it, such as {"control": "fine-tuning"}.
    """
    wanted = point_key([params, user_attrs])
    for trial in study.get_trials(deepcopy=False):
        if point_key([_fixed_params(trial), trial.system_attrs.get(_ASKED_WITH)]) == wanted:
            return
    _enqueue(study, params, user_attrs, {})


def _enqueue(
    study: optuna.study.Study, params: Mapping[str, Any], attrs: Mapping[str, Any], asked: Mapping[str, int]
) -> None:
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.WAITING,
            user_attrs={**attrs, **asked},
            system_attrs={"fixed_params": dict(params), _ASKED_WITH: dict(attrs)},
        )
    )


def _fixed_params(trial: FrozenTrial) -> dict[str, Any]:
    return cast("dict[str, Any]", trial.system_attrs.get("fixed_params", {}))


def point_key(value: object) -> str:
    """The same text for equal parameters, also after their way through the storage."""
    return json.dumps(value, sort_keys=True)


def repair(study: optuna.study.Study) -> int:
    """Tell every RUNNING trial FAIL and ask its point again; returns how many there were.

    Only one process may run a study: this takes any RUNNING trial for a leftover.
    """
    left = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in left:
        _give_up(study, trial, {"error": STOPPED})
        ask_again(study, trial, "restart", MAX_RESTARTS)
    return len(left)


def _give_up(study: optuna.study.Study, trial: FrozenTrial, attrs: Mapping[str, Any]) -> None:
    for name, value in attrs.items():
        study._storage.set_trial_user_attr(trial._trial_id, name, value)
    study.tell(trial.number, state=TrialState.FAIL)


def ask_again(study: optuna.study.Study, trial: FrozenTrial, why: Literal["retry", "restart"], most: int) -> None:
    """Ask its point again unless that was done so often for this reason; the trial's attributes count both reasons."""
    asked: dict[str, int] = {name: trial.user_attrs[name] for name in _COUNTS if name in trial.user_attrs}
    asked[why] = asked.get(why, 0) + 1
    if asked[why] <= most:
        params = {**_fixed_params(trial), **trial.params}
        _enqueue(study, params, trial.system_attrs.get(_ASKED_WITH, {}), asked)


def was_asked_for(study: optuna.study.Study, trial: optuna.Trial) -> bool:
    """Whether this point was enqueued with attributes, rather than proposed by the sampler."""
    return bool(study._storage.get_trial_system_attrs(trial._trial_id).get(_ASKED_WITH))
