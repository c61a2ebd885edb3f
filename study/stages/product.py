"""A study's product: the recommended setting's erased model, its card, and a picture of its attention.

Trials return numbers only, so the recommended one is run again with its own seed. On the same machine, the model is the
same to the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import optuna
import torch
from optuna.trial import FrozenTrial

from nad import attention_picture
from nad.attacks.poisoning import target_labels
from nad.attention_picture import Scene, attend, beside
from nad.checkpoints import Checkpoint, load_entry, save, state_digest
from nad.errors import EraseDiverged
from nad.evaluation import Scores
from nad.scenario import Scenario
from nad.seeds import generator
from nad.trained_on import of_dataset
from reports.analysis.frontier import Bound
from reports.analysis.objectives import OBJECTIVE_NAMES
from search_spaces import Point
from study.engine import tasks
from study.engine.devices import driver_device
from study.engine.erase_task import Weights, Workload, erase_again
from study.record.folder import StudyFolder
from study.record.outcome import SearchOutcome
from study.record.writing import write_text
from study.search.settings import setting_of
from study.stages import model_card
from study.stages.preparation import PICTURES, Preparation

SHOWN = 3
"""Images in the attention picture, each clean and triggered: the first ones of the attack's picture."""


def keep_recommended(
    preparation: Preparation,
    study: optuna.Study,
    scenario: Scenario,
    bound: Bound,
    workload: Workload,
    folder: StudyFolder,
) -> None:
    """Write the recommended setting's student and picture, if missing; remove those of another setting.

    workload: of the study's trials, with its teachers.
    """
    outcome = SearchOutcome.of(study, bound)
    if outcome.pick is None:
        _remove(folder)
        return
    trial, point = outcome.settings[outcome.pick], outcome.point(outcome.pick)
    facts = _facts(study, trial, workload.model)
    kept = load_entry(folder.model)
    if kept is not None and kept.card.get("facts") == facts and folder.attention.exists():
        return
    _remove(folder)
    say = preparation.display.say
    try:
        weights, scores = _erase_again(preparation, point, trial.user_attrs["seed"], workload)
    except EraseDiverged as error:
        say(f"no model is kept: the recommended trial {trial.number} diverged when run again: {error}")
        return
    recorded = dict(zip(OBJECTIVE_NAMES, trial.values, strict=True))
    if any(scores[name] != value for name, value in recorded.items()):
        say(model_card.differs(scores, recorded))
    _draw(scenario, workload, trial.number, point, weights, folder)
    state = {name: torch.from_numpy(values.copy()) for name, values in weights.items()}
    validation = {name: scores[name] for name in Scores._fields}
    known = of_dataset(scenario.dataset).card()
    save(
        folder.model,
        Checkpoint(state, {"facts": facts, "recorded": recorded, "validation": validation, **known}),
    )
    say(f"model: {folder.model}")


def _erase_again(
    preparation: Preparation, point: Point, seed: int, workload: Workload
) -> tuple[Weights, Mapping[str, Any]]:
    """Student and scores of the trial with this seed, run again.  Raises: EraseDiverged."""
    cpus, gpus = preparation.config.engine.size
    with preparation.display.stage("recommended model", "made") as step:
        step(0, 1)
        [(weights, scores)] = tasks.run_tasks(
            erase_again,
            [(point, seed)],
            payload=workload,
            cpus=cpus,
            gpus=gpus,
            on_progress=lambda running: step(0, 1, running),
        )
        step(1, 1)
    return weights, scores


def write_card(folder: StudyFolder, summary: Mapping[str, Any]) -> None:
    """Write the model's card from summary.json; remove it without a recommended setting.

    A study may end before the model of its new recommendation is made: the old model and picture are removed then, and
    the card says so.
    """
    recommended, made = summary["recommended"], load_entry(folder.model)
    card: Any = made.card if made is not None else {}
    if made is None or recommended is None or card["facts"]["trial"] != recommended["number"]:
        _remove(folder)
        if recommended is not None:
            folder.model_card.parent.mkdir(mode=0o700, exist_ok=True)
            write_text(folder.model_card, model_card.of_none(summary))
        return
    recorded, seed = card["recorded"], card["facts"]["seed"]
    text = model_card.of_recommended(summary, card["validation"], recorded, seed, state_digest(made.state))
    write_text(folder.model_card, text)


def _facts(study: optuna.Study, trial: FrozenTrial, model: str) -> dict[str, Any]:
    """Everything the erased model depends on, as JSON values."""
    facts = {
        "model": model,
        "study": study.study_name,
        "victim": study.user_attrs["victim_sha256"],
        "trial": trial.number,
        "setting": setting_of(trial),
        "seed": trial.user_attrs["seed"],
    }
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain


def _remove(folder: StudyFolder) -> None:
    for path in (folder.model, folder.model_card, folder.attention):
        path.unlink(missing_ok=True)


def _draw(
    scenario: Scenario,
    workload: Workload,
    trial: int,
    point: Point,
    erased: Weights,
    folder: StudyFolder,
) -> None:
    sample = scenario.sample(PICTURES)
    triggered = scenario.attack.trigger(sample.images, generator(workload.seed, "picture"))
    wanted = target_labels(scenario.attack, sample.labels, scenario.dataset.classes)
    scene = Scene(sample.images[:SHOWN], triggered[:SHOWN], sample.labels[:SHOWN], wanted[:SHOWN])
    erase, device = point.erase, driver_device()
    layers = list(workload.pairs)
    teacher = workload.teacher_network(workload.teacher(point.clean_fraction), device)
    networks = {
        "victim": (workload.network(workload.victim, device), layers),
        "teacher": (teacher, list(workload.pairs.values())),
        "erased": (workload.network(erased, device), layers),
    }
    victims, teachers, eraseds = (
        attend(name, network, scene.rows, tapped, power=erase.power, operator=erase.operator, device=device)
        for name, (network, tapped) in networks.items()
    )
    looks = [victims, beside(teachers, victims, workload.pairs), eraseds]
    distilled = ", ".join(erase.weights) or "no layer"
    caption = (
        f"Attention ({erase.operator} of |activation|^{erase.power:g} over channels): brighter is more, on one scale"
        f" for each layer of an image. Distilled in trial {trial}: {distilled}."
    )
    attention_picture.save(folder.attention, attention_picture.draw(scene, looks, caption))
