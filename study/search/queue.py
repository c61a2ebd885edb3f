"""Queued points, asked before the sampler's proposals: controls, portfolio, retries."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any, Literal, cast

import optuna
from optuna.trial import FrozenTrial, TrialState

STOPPED = "the study was stopped while this trial ran"
MAX_RESTARTS = 10  # of one point; its trial may be what ends the study's process
DIVERGED = "diverged"
"""User attribute of a trial whose loss was not finite; its seed would repeat that, so it is not asked again."""

_COUNTS = ("retry", "restart")
_ASKED_WITH = "asked_with"  # system attribute: a queued point's user attributes
_IN_PLACE_OF = "in_place_of"  # system attribute: number of the lost trial this one replaces


def enqueue(study: optuna.study.Study, params: Mapping[str, Any], user_attrs: Mapping[str, Any]) -> None:
    """Queue this point before the sampler's proposals, once per study, however often this is called.

    A point with failed trials is queued once more, as the cause may have been mended: call this once in a run.
    params: all of the point's parameters, or some; the sampler draws the others.
    user_attrs: of the trial and its retries, such as {"control": "fine-tuning"}.
    """
    trials = study.get_trials(deepcopy=False)
    if not any(_asks(trial, params, user_attrs) and _settles(trial) for trial in trials):
        _enqueue(study, params, user_attrs, {}, in_place_of=None)


def _asks(trial: FrozenTrial, params: Mapping[str, Any], user_attrs: Mapping[str, Any]) -> bool:
    """True for a trial queued with these attributes and parameters, retries included."""
    fixed = _fixed_params(trial)
    given = {name: fixed[name] for name in params if name in fixed}
    return point_key([given, trial.system_attrs.get(_ASKED_WITH)]) == point_key([params, user_attrs])


def _settles(trial: FrozenTrial) -> bool:
    """True if its point needs no other trial: succeeded, running, or hopeless."""
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
    """Equal texts for equal parameters, also after a round trip through the storage."""
    return json.dumps(value, sort_keys=True)


def repair(study: optuna.study.Study, numbers: Container[int] | None = None) -> int:
    """Fail every RUNNING trial and ask its point again; returns their number.

    numbers: only these trials. Default: all, leftovers of an earlier run, as only one process may run a study.
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
    """Ask a trial's point again, at most so often for this reason.

    Call it before the trial is told FAIL: if the process is killed in between, the trial is still RUNNING, and the next
    process calls this again. Nothing is asked twice.
    """
    asked: dict[str, int] = {name: trial.user_attrs[name] for name in _COUNTS if name in trial.user_attrs}
    asked[why] = asked.get(why, 0) + 1
    others = study.get_trials(deepcopy=False)
    if asked[why] <= most and not any(other.system_attrs.get(_IN_PLACE_OF) == trial.number for other in others):
        params = {**_fixed_params(trial), **trial.params}
        _enqueue(study, params, trial.system_attrs.get(_ASKED_WITH, {}), asked, in_place_of=trial.number)


def asked_with(study: optuna.study.Study, trial: optuna.Trial) -> dict[str, Any]:
    """The attributes that a point was queued with; none for the sampler's own."""
    return dict(study._storage.get_trial_system_attrs(trial._trial_id).get(_ASKED_WITH) or {})


def is_repeat(trial: FrozenTrial) -> bool:
    """True for a setting queued for a further draw."""
    return "draw" in (trial.system_attrs.get(_ASKED_WITH) or {})
