"""Points that are asked before any that the sampler proposes: by name, or again, because their trial was lost."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any, Literal, cast

import optuna
from optuna.trial import FrozenTrial, TrialState

STOPPED = "the study was stopped while this trial ran"
MAX_RESTARTS = 10  # of one point in whose trial the study's process ends: it may be the trial's doing
DIVERGED = "diverged"
"""User attribute of a failed trial that would fail again: its loss was no longer finite, which its seed repeats."""

_COUNTS = ("retry", "restart")
_ASKED_WITH = "asked_with"  # system attribute: the user attributes that a point was enqueued with
_IN_PLACE_OF = "in_place_of"  # system attribute: the number of the lost trial whose point this one asks again


def enqueue(study: optuna.study.Study, params: Mapping[str, Any], user_attrs: Mapping[str, Any]) -> None:
    """Ask this point before any that the sampler proposes; once per study, however often this is called.

    A point whose trials have failed is asked once more, for the cause may have been mended since: to be called once in
    a run of the study.
    params: all of the point's parameters, or some; the sampler draws the others.
    user_attrs: go with the trial, and with a retry of it, such as {"control": "fine-tuning"}.
    """
    trials = study.get_trials(deepcopy=False)
    if not any(_asks(trial, params, user_attrs) and _settles(trial) for trial in trials):
        _enqueue(study, params, user_attrs, {}, in_place_of=None)


def _asks(trial: FrozenTrial, params: Mapping[str, Any], user_attrs: Mapping[str, Any]) -> bool:
    """Whether this trial was enqueued with these attributes and parameters; a retry also has those that were drawn."""
    fixed = _fixed_params(trial)
    given = {name: fixed[name] for name in params if name in fixed}
    return point_key([given, trial.system_attrs.get(_ASKED_WITH)]) == point_key([params, user_attrs])


def _settles(trial: FrozenTrial) -> bool:
    """Whether its point needs no other trial: this one has ended well, still may, or failed as any other would."""
    if trial.state is not TrialState.FAIL:
        return True
    return bool(trial.user_attrs.get(DIVERGED)) or trial.user_attrs.get("restart", 0) >= MAX_RESTARTS


def _enqueue(
    study: optuna.study.Study,
    params: Mapping[str, Any],
    attrs: Mapping[str, Any],
    asked: Mapping[str, int],
    *,
    in_place_of: int | None,
) -> None:
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.WAITING,
            user_attrs={**attrs, **asked},
            system_attrs={"fixed_params": dict(params), _ASKED_WITH: dict(attrs), _IN_PLACE_OF: in_place_of},
        )
    )


def _fixed_params(trial: FrozenTrial) -> dict[str, Any]:
    return cast("dict[str, Any]", trial.system_attrs.get("fixed_params", {}))


def point_key(value: object) -> str:
    """The same text for equal parameters, also after their way through the storage."""
    return json.dumps(value, sort_keys=True)


def repair(study: optuna.study.Study, numbers: Container[int] | None = None) -> int:
    """Ask the point of every RUNNING trial again and tell the trial FAIL; returns how many there were.

    numbers: of the trials that this is about. Without them it takes any RUNNING trial for a leftover, for only one
        process may run a study.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    left = [trial for trial in running if numbers is None or trial.number in numbers]
    for trial in left:
        ask_again(study, trial, "restart", MAX_RESTARTS)
        _give_up(study, trial, {"error": STOPPED})
    return len(left)


def _give_up(study: optuna.study.Study, trial: FrozenTrial, attrs: Mapping[str, Any]) -> None:
    for name, value in attrs.items():
        study._storage.set_trial_user_attr(trial._trial_id, name, value)
    study.tell(trial.number, state=TrialState.FAIL)


def ask_again(study: optuna.study.Study, trial: FrozenTrial, why: Literal["retry", "restart"], most: int) -> None:
    """Ask its point again unless that was done so often for this reason; the trial's attributes count both reasons.

    To be called before the trial is told FAIL: a process that is killed in between leaves it RUNNING, and the next one
    calls this again, which asks nothing twice.
    """
    asked: dict[str, int] = {name: trial.user_attrs[name] for name in _COUNTS if name in trial.user_attrs}
    asked[why] = asked.get(why, 0) + 1
    others = study.get_trials(deepcopy=False)
    if asked[why] <= most and not any(other.system_attrs.get(_IN_PLACE_OF) == trial.number for other in others):
        params = {**_fixed_params(trial), **trial.params}
        _enqueue(study, params, trial.system_attrs.get(_ASKED_WITH, {}), asked, in_place_of=trial.number)


def was_asked_for(study: optuna.study.Study, trial: optuna.Trial) -> bool:
    """Whether this point was enqueued with attributes, rather than proposed by the sampler."""
    return bool(study._storage.get_trial_system_attrs(trial._trial_id).get(_ASKED_WITH))
