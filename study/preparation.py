"""What has to be there before the first trial: images, attack, victim, teachers; and the block that workers get."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch

from nad import attacks, data
from nad.checkpoints import Checkpoint, entry, load_entry, save, state_digest
from nad.erase import TEACHER
from nad.evaluation import Exam
from nad.scenario import Scenario
from nad.victim import Victim, VictimConfig, reference_accuracy, require_backdoor, train_victim
from study import engine
from study.config import StudyConfig
from study.objective import Weights, Workload, as_arrays, make_teacher_weights
from study.progress import Display


def load_scenario(config: StudyConfig, cache: Path, display: Display) -> Scenario:
    """The images, divided, and the attack on them.

    Raises: ConfigError or DataError for settings or images that do not fit.
    """
    attack = attacks.make(
        config.attack,
        target=config.target,
        poison_rate=config.poison_rate,
        label_mode=config.label_mode,
        reflections=config.reflections,
    )
    with display.stage("images", "read") as step:
        dataset = data.load(
            config.dataset,
            cache_dir=cache,
            data_dir=config.data_dir,
            image_size=config.image_size,
            progress=lambda _stage, done, total: step(done, total),
        )
    scenario = Scenario(dataset, attack, config.seed)
    for fraction in config.fractions:
        scenario.holdout(fraction)
    return scenario


def driver_device() -> torch.device:
    """Where the victim is trained: on this machine's GPU where it has one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def prepare_victim(
    config: StudyConfig, scenario: Scenario, recipe: VictimConfig, cache: Path, display: Display
) -> Victim:
    """The backdoored model, trained or from the cache, and checked.

    Raises: WeakBackdoor where its backdoor did not take, unless the settings allow it.
    """
    device = driver_device()
    with display.stage("victim", "epochs") as step:
        victim = train_victim(scenario, config.model, recipe, cache=cache, device=device, progress=step)
    display.say(f"victim: validation ASR {victim.scores.asr:.1%}, ACC {victim.scores.acc:.1%}")
    reference_acc = None
    if config.reference:
        with display.stage("clean reference", "epochs") as step:
            reference_acc = reference_accuracy(
                scenario, config.model, recipe, cache=cache, device=device, progress=step
            )
        display.say(f"clean reference: validation ACC {reference_acc:.1%}")
    if not config.allow_weak_backdoor:
        require_backdoor(victim, reference_acc)
    return victim


def make_workload(config: StudyConfig, scenario: Scenario, victim: Victim, exam: Exam) -> Workload:
    """The block that every worker reads, with the study's own defender; its teachers are still to be made.

    exam: what erased models are scored on.
    """
    largest = scenario.holdout(max(config.fractions))
    return Workload(
        model=config.model,
        classes=scenario.dataset.classes,
        flip=scenario.dataset.flip,
        seed=config.seed,
        train_size=len(scenario.dataset.train),
        holdout_images=largest.images.numpy(),
        holdout_labels=largest.labels.numpy(),
        clean_images=exam.clean.images.numpy(),
        clean_labels=exam.clean.labels.numpy(),
        triggered_images=exam.triggered.images.numpy(),
        triggered_labels=exam.triggered.labels.numpy(),
        target=exam.target,
        victim=as_arrays(victim.state),
        teachers={},
        threads=config.cpus_per_trial,
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
    cache.
    """
    one = next(iter(workloads.values()))
    facts = {
        "victim": state_digest({name: torch.from_numpy(values) for name, values in one.victim.items()}),
        "images": images,
        "seed": config.seed,
        "config": asdict(TEACHER),
        "flip": one.flip,
    }
    cards = {(draw, fraction): {**facts, "draw": draw, "clean_fraction": fraction} for draw, fraction in wanted}
    paths = {which: entry(cache / "models", "teacher", card) for which, card in cards.items()}
    found = {which: load_entry(path) for which, path in paths.items()}
    teachers: dict[tuple[int, float], Weights] = {
        which: as_arrays(checkpoint.state) for which, checkpoint in found.items() if checkpoint is not None
    }
    # The largest first: a long task that starts last would keep one worker waiting for the others.
    missing = sorted((which for which in cards if which not in teachers), key=lambda which: -which[1])
    if missing:
        with display.stage("teachers", "made") as step:
            step(len(teachers), len(paths))

            def keep(index: int, weights: Weights) -> None:
                which = missing[index]
                teachers[which] = weights
                state = {name: torch.from_numpy(values.copy()) for name, values in weights.items()}
                save(paths[which], Checkpoint(state, cards[which]))
                step(len(teachers), len(paths))

            engine.run_tasks(
                make_teacher_weights,
                missing,
                payload=dict(workloads),
                cpus=config.cpus_per_trial,
                gpus=config.gpus_per_trial,
                on_done=keep,
            )
    return {
        draw: replace(workload, teachers={which[1]: weights for which, weights in teachers.items() if which[0] == draw})
        for draw, workload in workloads.items()
    }
