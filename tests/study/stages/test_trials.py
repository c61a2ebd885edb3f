"""What the sampler is told of the accuracy that may be lost."""

import optuna
import pytest

from study.stages.trials import ACC_DROP, other_bounds

VICTIM_ACC = 0.8


def tell(study: optuna.Study, asr: float, acc: float, bound: float | None) -> None:
    trial = study.ask()
    if bound is not None:
        trial.set_constraint(ACC_DROP, VICTIM_ACC - acc - bound)
    study.tell(trial, [asr, acc])


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ((), None),
        ((0.07, 0.07), None),
        ((None, 0.07), None),
        ((0.03, 0.07, 0.03), "2 of 3 complete trials were run with another --max-acc-drop"),
    ],
)
def test_trials_under_another_bound_are_counted(bounds: tuple[float | None, ...], said: str | None) -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    for number, bound in enumerate(bounds):
        tell(study, 0.1 * number, 0.75 + 0.01 * number, bound)
    found = other_bounds(study, VICTIM_ACC, 0.07)
    assert found is None if said is None else said in (found or "")
