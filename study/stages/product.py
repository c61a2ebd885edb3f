"""What a study leaves to use: the recommended setting's erased model, its card, and a picture of what it looks at.

Trials return numbers only, so the recommended one is run again with its own seed: on the machine that ran it, that
gives the same model to the last bit.
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
from study.display.progress import Display
from study.engine import tasks
from study.engine.devices import driver_device
from study.engine.erase_task import Weights, Workload, describe_point, erase_again
from study.options.config import StudyConfig
from study.record.exports import search_outcome
from study.record.folder import StudyFolder
from study.record.writing import write_text
from study.stages import model_card
from study.stages.preparation import PICTURES

SHOWN = 3
"""Images in the attention picture, each clean and triggered: the first of the attack's own picture."""


def make(
    config: StudyConfig,
    study: optuna.Study,
    scenario: Scenario,
    bound: Bound,
    workload: Workload,
    folder: StudyFolder,
    display: Display,
) -> None:
    """Write the recommended setting's student and the picture, unless they are there; remove those of another one.

    workload: what the study's trials ran on, with its teachers.
    """
    trials = search_outcome(study, bound)
    if trials.pick is None:
        _remove(folder)
        return
    trial = trials.complete[trials.pick]
    facts = _facts(config, study, trial)
    made = load_entry(folder.model)
    if made is not None and made.card.get("facts") == facts and folder.attention.exists():
        return
    _remove(folder)
    point = config.point_of(trial)
    with display.stage("recommended model", "made") as step:
        step(0, 1)
        try:
            [(weights, scores)] = tasks.run_tasks(
                erase_again,
                [(describe_point(point), facts["seed"])],
                payload=workload,
                cpus=config.cpus_per_trial,
                gpus=config.gpus_per_trial,
                on_progress=lambda running: step(0, 1, running),
            )
        except EraseDiverged as error:
            display.say(f"no model is kept: the recommended trial {trial.number} did not come out again: {error}")
            return
        step(1, 1)
    recorded = dict(zip(OBJECTIVE_NAMES, trial.values, strict=True))
    if any(scores[name] != value for name, value in recorded.items()):
        display.say(model_card.differs(scores, recorded))
    state = {name: torch.from_numpy(values.copy()) for name, values in weights.items()}
    _draw(config, scenario, workload, trial.number, point, weights, folder)
    validation = {name: scores[name] for name in Scores._fields}
    known = of_dataset(scenario.dataset).card()
    save(folder.model, Checkpoint(state, {"facts": facts, "validation": validation, **known}))
    display.say(f"model: {folder.model}")


def write_card(folder: StudyFolder, summary: Mapping[str, Any]) -> None:
    """Write the model's card from what summary.json now says; without a recommended setting there is none.

    A study that ends early may recommend another trial than the one whose model is there: that model goes with its
    picture, and the card says that the recommended one is not kept.
    """
    recommended, made = summary["recommended"], load_entry(folder.model)
    card: Any = made.card if made is not None else {}
    if made is None or recommended is None or card["facts"]["trial"] != recommended["number"]:
        _remove(folder)
        if recommended is not None:
            folder.model_card.parent.mkdir(mode=0o700, exist_ok=True)
            write_text(folder.model_card, model_card.of_none(summary))
        return
    text = model_card.of_recommended(summary, card["validation"], card["facts"]["seed"], state_digest(made.state))
    write_text(folder.model_card, text)


def _facts(config: StudyConfig, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
    """What the model follows from, as JSON values."""
    facts = {
        "model": config.architecture,
        "study": config.study_name,
        "victim": study.user_attrs["victim_sha256"],
        "trial": trial.number,
        "params": trial.params,
        "seed": trial.user_attrs["seed"],
    }
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain


def _remove(folder: StudyFolder) -> None:
    for path in (folder.model, folder.model_card, folder.attention):
        path.unlink(missing_ok=True)


def _draw(
    config: StudyConfig,
    scenario: Scenario,
    workload: Workload,
    trial: int,
    point: Point,
    erased: Weights,
    folder: StudyFolder,
) -> None:
    sample = scenario.sample(PICTURES)
    triggered = scenario.attack.trigger(sample.images, generator(config.seed, "picture"))
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
