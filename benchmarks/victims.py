"""Scores of each attack's victim, by the study's recipe, on one data set: `python -m benchmarks.victims`.

Validation scores decide in a study whether the backdoor took; test scores stand beside them. Victims come from the
cache if a study has trained them. A clean model of the same recipe shows the trigger's effect without a backdoor. The
last line is JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from nad.attacks import ATTACKS, LabelMode
from nad.attacks.custom import Custom
from nad.evaluation import Scores
from nad.victim import score_state, train_reference, train_victim
from study.display.progress import Display
from study.options.config import StudyConfig
from study.record.folder import cache_folder
from study.stages.preparation import Preparation

GOOD_ASR, GOOD_ACC = 0.95, 0.8
"""Least validation scores of a good victim."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Scores of each attack's victim, by the study's recipe, on one data set."""

    dataset: str = "fashion-c"
    data_dir: Path | None = None
    attacks: tuple[str, ...] = tuple(name for name in ATTACKS if name != Custom.name)
    attack_args: tuple[str, ...] = ()
    """NAME=VALUE: settings of all attacks."""
    label_mode: LabelMode | None = None
    target: int = 0
    epochs: int = 16
    seeds: tuple[int, ...] = (0,)
    """One victim of each attack for each."""


@dataclass(frozen=True)
class Measured:
    """Scores of one victim, and of the clean model on the same triggered images."""

    validation: Scores
    test: Scores
    clean: Scores
    """On the test images."""

    @property
    def is_good(self) -> bool:
        """Whether the backdoor took and the model is of use."""
        return self.validation.asr >= GOOD_ASR and self.validation.acc >= GOOD_ACC

    def figures(self) -> dict[str, float]:
        """All of them, for the JSON."""
        named = (("validation", self.validation), ("test", self.test), ("clean", self.clean))
        return {f"{name}_{of}": round(getattr(scores, of), 4) for name, scores in named for of in ("asr", "acc")}


def main(arguments: Arguments) -> None:
    """Train the victims missing from the cache, and print the scores."""
    display = Display(Console(stderr=True))
    results: dict[str, dict[int, dict[str, float]]] = {}
    good = 0
    print(f"{'ASR / ACC':>8} seed {'validation':>15} {'test':>15} {'clean model':>15}")
    for seed in arguments.seeds:
        for attack in arguments.attacks:
            found = measure(attack, seed, arguments, display)
            good += found.is_good
            shown = "".join(
                f"  {scores.asr:>6.1%} {scores.acc:>6.1%} " for scores in (found.validation, found.test, found.clean)
            )
            print(f"{attack:>9} {seed:>4} {shown}{'' if found.is_good else '  weak'}", flush=True)
            results.setdefault(attack, {})[seed] = found.figures()
    print(
        f"{good} of {len(arguments.attacks) * len(arguments.seeds)} good: validation ASR at least {GOOD_ASR:.0%},"
        f" ACC at least {GOOD_ACC:.0%}"
    )
    print(json.dumps(results))


def measure(attack: str, seed: int, arguments: Arguments, display: Display) -> Measured:
    """Scores of the victim and of the clean model."""
    config = StudyConfig.of(
        attack=attack,
        attack_args=arguments.attack_args,
        label_mode=arguments.label_mode,
        dataset=arguments.dataset,
        data_dir=arguments.data_dir,
        target=arguments.target,
        victim_epochs=arguments.epochs,
        seed=seed,
    )
    cache, recipe, model = cache_folder(None), config.recipe, config.victim.architecture
    preparation = Preparation(config, cache, display)
    scenario = preparation.prepare_attack(preparation.load_scenario(), recipe)
    with display.stage(f"victim of {attack}", "epochs") as step:
        victim = train_victim(scenario, model, recipe, cache=cache, progress=step)
    with display.stage("clean model", "epochs") as step:
        clean = train_reference(scenario, model, recipe, cache=cache, progress=step)
    test, of_clean = (score_state(state, model, scenario, scenario.test) for state in (victim.state, clean))
    return Measured(victim.scores, test, of_clean)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
