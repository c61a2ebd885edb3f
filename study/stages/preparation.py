"""What has to be there before the first trial: images, attack, victim, teachers; and the block that workers get."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import torch

from nad import attacks, data, models
from nad.checkpoints import Checkpoint, State, entry, load_entry, save, state_digest
from nad.data.splits import straddling
from nad.erasure import TEACHER
from nad.errors import DataError
from nad.evaluation import EvalSet
from nad.formats import ForeignModel
from nad.models.inspection import require_distillable
from nad.preparation import prepare
from nad.reflection_selection import require_judges, select_reflections, selectable
from nad.scenario import Scenario
from nad.trained_on import TrainedOn
from nad.victim import (
    Victim,
    VictimConfig,
    require_above_chance,
    require_backdoor,
    score_state,
    train_reference,
    train_victim,
)
from study.display.progress import Display
from study.engine import tasks
from study.engine.devices import driver_device
from study.engine.erase_task import GLANCE, Origin, Weights, Workload, as_arrays, teacher_or_why
from study.engine.remote_training import runner
from study.options import attack_settings
from study.options.config import StudyConfig
from study.options.paths import expanded
from study.record.provenance import Source
from study.stages.victim_file import take

T = TypeVar("T")

TEACHER_VERSION = 1
"""Part of the key of each cached teacher: raise it when the same facts no longer mean the same fine-tuning."""

PICTURES = 8
"""Images in the attack's picture of itself."""


def load_scenario(config: StudyConfig, cache: Path, display: Display) -> Scenario:
    """The images, divided, and the attack on them.

    Raises: ConfigError or DataError for settings or images that do not fit, such as a poison rate that asks for none of
    them.
    """
    data_dir = config.data_dir and expanded(config.data_dir, "--data-dir")
    if data_dir is not None and not data_dir.is_dir():
        raise DataError(f"--data-dir {data_dir}: there is no such folder; name one that is there")
    with display.stage("images", "read") as step:
        dataset = data.load(
            config.dataset,
            cache_dir=cache,
            data_dir=data_dir,
            image_size=config.used_image_size,
            progress=lambda _stage, done, total: step(done, total),
        )
    for remark in dataset.remarks:
        display.say(remark)
    if not config.used_flip:
        dataset = replace(dataset, flip=False)
    scenario = Scenario(dataset, config.made_attack, config.seed)
    for remark in (*attacks.remarks(scenario.attack), *_straddling(scenario)):
        display.say(remark)
    for fraction in config.fractions:
        scenario.holdout(fraction)
    if config.victim is None:
        scenario.count_planted()
        require_judges(scenario)
    return scenario


def _straddling(scenario: Scenario) -> tuple[str, ...]:
    """A line on validation images that the victim trains on too, or none."""
    count = straddling(scenario.splits, scenario.dataset.copies)
    total = len(scenario.splits.validation)
    return (
        (f"{count:,} of {total:,} validation images are training images too: their classes have hardly any others",)
        if count
        else ()
    )


def require_models(config: StudyConfig, scenario: Scenario) -> None:
    """Raise ConfigError for an architecture that cannot be studied on these images: here, before one is trained."""
    some = scenario.dataset.train[torch.arange(2)]
    for name in dict.fromkeys((config.architecture, config.teacher_architecture)):
        require_distillable(name, scenario.dataset.classes, some, classifier=scenario.attack.needs_clean_model)


def prepare_attack(config: StudyConfig, scenario: Scenario, source: Source, cache: Path, display: Display) -> Scenario:
    """The scenario with its attack ready to be planted: some are first made on a clean model, or by training others.

    A victim from the user's file is poisoned already: nothing is planted, and nothing made.
    Raises: ConfigError where the clean model has learnt nothing; DataError where there are too few images to select
    reflections by.
    """
    if isinstance(source, ForeignModel) or scenario.attack.is_ready:
        return scenario
    if not scenario.attack.needs_clean_model:
        with display.stage("reflections", "epochs") as step:
            return select_reflections(
                scenario,
                config.architecture,
                source,
                cache=cache,
                device=driver_device(),
                progress=step,
                run=runner(config, display.say),
            )
    clean = _clean_reference(config, scenario, source, cache, display)
    with display.stage(f"attack {config.attack}", "steps") as step:
        return prepare(
            scenario,
            config.architecture,
            clean,
            cache=cache,
            device=driver_device(),
            progress=step,
            run=runner(config, display.say),
        )


def prepare_victim(
    config: StudyConfig, scenario: Scenario, recipe: VictimConfig, cache: Path, display: Display
) -> Victim:
    """The backdoored model, trained or from the cache, and checked.

    Raises: WeakBackdoor where its backdoor did not take, unless the settings allow it.
    """
    device = driver_device()
    with display.stage("victim", "epochs") as step:
        victim = train_victim(
            scenario,
            config.architecture,
            recipe,
            cache=cache,
            device=device,
            progress=step,
            run=runner(config, display.say),
        )
    display.say(f"victim: validation ASR {victim.scores.asr:.1%}, ACC {victim.scores.acc:.1%}")
    reference_acc = None
    if config.reference:
        clean = _clean_reference(config, scenario, recipe, cache, display)
        reference_acc = score_state(clean, config.architecture, scenario, scenario.validation, device).acc
        display.say(f"clean reference: validation ACC {reference_acc:.1%}")
    if not config.allow_weak_backdoor:
        counts = scenario.count_planted()
        remedy = attack_settings.remedy(scenario.attack, *counts, selectable=selectable(scenario))
        require_above_chance(victim, scenario.validation.clean.labels, remedy="train longer, poison less")
        require_backdoor(victim, reference_acc, remedy=remedy)
    return victim


def prepare_victims(
    config: StudyConfig, scenario: Scenario, source: Source, cache: Path, display: Display
) -> tuple[Victim, Origin | None]:
    """The victim, and where its teachers are of another architecture, the victim of that one.

    Raises: WeakBackdoor where the victim's backdoor did not take, unless the settings allow it.
    """
    if isinstance(source, ForeignModel):
        return take(source, config, scenario, display), None
    victim = prepare_victim(config, scenario, source, cache, display)
    return victim, _prepare_origin(config, scenario, source, cache, display)


def victim_digests(victim: Victim, origin: Origin | None) -> dict[str, str]:
    """What tells a study that its victims are still the same, by attribute of its record."""
    found = {"victim_sha256": state_digest(victim.state)}
    return found if origin is None else {**found, "teacher_victim_sha256": _weights_digest(origin.weights)}


def _prepare_origin(
    config: StudyConfig, scenario: Scenario, recipe: VictimConfig, cache: Path, display: Display
) -> Origin | None:
    """A victim of the teachers' architecture, trained or from the cache; None where teachers start as the victim.

    It may be a weak one: the study is about what is left of the other's backdoor.
    """
    model = config.teacher_architecture
    if model == config.architecture:
        return None
    with display.stage("teachers' victim", "epochs") as step:
        made = train_victim(
            scenario, model, recipe, cache=cache, device=driver_device(), progress=step, run=runner(config, display.say)
        )
    display.say(f"teachers' victim ({model}): validation ASR {made.scores.asr:.1%}, ACC {made.scores.acc:.1%}")
    return Origin(model, as_arrays(made.state))


def prepare_clean_origin(
    config: StudyConfig, scenario: Scenario, recipe: VictimConfig, cache: Path, display: Display
) -> Origin | None:
    """The same without a backdoor: what the teachers of a clean model start from."""
    model = config.teacher_architecture
    if model == config.architecture:
        return None
    with display.stage("teachers' clean model", "epochs") as step:
        state = train_reference(
            scenario, model, recipe, cache=cache, device=driver_device(), progress=step, run=runner(config, display.say)
        )
    return Origin(model, as_arrays(state))


def _clean_reference(
    config: StudyConfig, scenario: Scenario, recipe: VictimConfig, cache: Path, display: Display
) -> State:
    with display.stage("clean reference", "epochs") as step:
        return train_reference(
            scenario,
            config.architecture,
            recipe,
            cache=cache,
            device=driver_device(),
            progress=step,
            run=runner(config, display.say),
        )


def make_workload(
    config: StudyConfig, scenario: Scenario, victim: Victim, eval_set: EvalSet, origin: Origin | None = None
) -> Workload:
    """The block that every worker reads, with the study's own defender; its teachers are still to be made.

    eval_set: what erased models are scored on.  origin: of teachers of another architecture.
    """
    largest = scenario.holdout(max(config.fractions))
    watched = scenario.validation.subset(GLANCE).clean
    return Workload(
        model=config.architecture,
        classes=scenario.dataset.classes,
        flip=scenario.dataset.flip,
        seed=config.seed,
        train_size=len(scenario.dataset.train),
        holdout_images=largest.images.numpy(),
        holdout_labels=largest.labels.numpy(),
        clean_images=eval_set.clean.images.numpy(),
        clean_labels=eval_set.clean.labels.numpy(),
        triggered_images=eval_set.triggered.images.numpy(),
        triggered_labels=eval_set.triggered.labels.numpy(),
        watched_images=watched.images.numpy(),
        watched_labels=watched.labels.numpy(),
        target=eval_set.target if isinstance(eval_set.target, int) else eval_set.target.numpy(),
        victim=as_arrays(victim.state),
        teachers={},
        teachers_origin=origin,
        threads=config.cpus_per_trial,
        precision=config.used_precision,
    )


def for_draw(workload: Workload, scenario: Scenario, clean_fraction: float, draw: int) -> Workload:
    """The same block for another defender, who owns images up to this clean fraction; all else is shared memory."""
    owned = scenario.holdout(clean_fraction, draw)
    return replace(workload, holdout_images=owned.images.numpy(), holdout_labels=owned.labels.numpy(), draw=draw)


def with_teachers(
    workloads: Mapping[int, Workload],
    wanted: Iterable[tuple[int, float]],
    config: StudyConfig,
    images: str,
    cache: Path,
    display: Display,
) -> dict[int, Workload]:
    """The same blocks with the wanted teachers, made in parallel or taken from the cache.

    workloads: by draw.  wanted: draw and clean fraction of each teacher.  images: fingerprint of the data set, for the
    cache.  A teacher whose fine-tuning diverges is missing, and the block says why: erases that need it fail with that.
    """
    one = next(iter(workloads.values()))
    facts = {
        "version": TEACHER_VERSION,
        "model": models.identity(one.origin.model),
        "victim": _weights_digest(one.origin.weights),
        "images": images,
        "seed": config.seed,
        "config": asdict(TEACHER),
        "flip": one.flip,
        "precision": one.precision,
    }
    cards = {(draw, fraction): {**facts, "draw": draw, "clean_fraction": fraction} for draw, fraction in wanted}
    paths = {which: entry(cache / "models", "teacher", card) for which, card in cards.items()}
    found = {which: load_entry(path) for which, path in paths.items()}
    teachers: dict[tuple[int, float], Weights] = {
        which: as_arrays(checkpoint.state) for which, checkpoint in found.items() if checkpoint is not None
    }
    lost: dict[tuple[int, float], str] = {}
    known = TrainedOn(image_size=one.holdout_images.shape[-1], flip=one.flip).card()
    # The largest first: a long task that starts last would keep one worker waiting for the others.
    missing = sorted((which for which in cards if which not in teachers), key=lambda which: -which[1])
    if missing:
        with display.stage("teachers", "made") as step:
            step(len(teachers), len(paths))

            def keep(index: int, made: Weights | str) -> None:
                which = missing[index]
                if isinstance(made, str):
                    lost[which] = made
                    display.say(f"the teacher of {which[1]:.4g} clean data, draw {which[0]}, is lost: {made}")
                else:
                    teachers[which] = made
                    state = {name: torch.from_numpy(values.copy()) for name, values in made.items()}
                    save(paths[which], Checkpoint(state, {**cards[which], **known}))
                step(len(teachers) + len(lost), len(paths))

            tasks.run_tasks(
                teacher_or_why,
                missing,
                payload=dict(workloads),
                cpus=config.cpus_per_trial,
                gpus=config.gpus_per_trial,
                on_done=keep,
                on_progress=lambda running: step(len(teachers) + len(lost), len(paths), running),
            )
    return {
        draw: replace(workload, teachers=_of_draw(teachers, draw), lost_teachers=_of_draw(lost, draw))
        for draw, workload in workloads.items()
    }


def _weights_digest(weights: Weights) -> str:
    """As `state_digest`, of weights on their way to workers."""
    return state_digest({name: torch.from_numpy(values) for name, values in weights.items()})


def _of_draw(by_draw: Mapping[tuple[int, float], T], draw: int) -> dict[float, T]:
    """What belongs to this draw, by clean fraction."""
    return {fraction: value for (of, fraction), value in by_draw.items() if of == draw}
