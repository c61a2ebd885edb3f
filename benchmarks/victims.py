"""Test scores of each attack's victim, by the study's recipe, on one data set: `python -m benchmarks.victims`.

Victims come from the cache if a study has trained them. A clean model of the same recipe stands beside each: its ASR is
the trigger's effect without a backdoor. The last line is JSON.
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
from nad.victim import MIN_ASR, score_state, train_reference, train_victim
from study.display.progress import Display
from study.options.config import StudyConfig
from study.record.folder import cache_folder
from study.stages.preparation import Preparation


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Test scores of each attack's victim, by the study's recipe, on one data set."""

    dataset: str = "fashion-m"
    data_dir: Path | None = None
    attacks: tuple[str, ...] = tuple(name for name in ATTACKS if name != Custom.name)
    attack_args: tuple[str, ...] = ()
    """NAME=VALUE: settings of all attacks."""
    label_mode: LabelMode | None = None
    target: int = 0
    epochs: int = 16
    seed: int = 0


def main(arguments: Arguments) -> None:
    """Train the victims missing from the cache, and print the scores."""
    display = Display(Console(stderr=True))
    results = {}
    print(f"{'attack':>8} {'ASR':>7} {'ACC':>7}   clean model: {'ASR':>5} {'ACC':>7}")
    for attack in arguments.attacks:
        victim, clean = measure(attack, arguments, display)
        weak = "" if victim.asr >= MIN_ASR else "   the backdoor did not take"
        of_clean = f"{clean.asr:>19.1%} {clean.acc:>7.1%}"
        print(f"{attack:>8} {victim.asr:>7.1%} {victim.acc:>7.1%} {of_clean}{weak}", flush=True)
        results[attack] = {
            "asr": round(victim.asr, 4),
            "acc": round(victim.acc, 4),
            "clean_asr": round(clean.asr, 4),
            "clean_acc": round(clean.acc, 4),
        }
    print(json.dumps(results))


def measure(attack: str, arguments: Arguments, display: Display) -> tuple[Scores, Scores]:
    """Test scores of the victim, and of the clean model."""
    config = StudyConfig.of(
        attack=attack,
        attack_args=arguments.attack_args,
        label_mode=arguments.label_mode,
        dataset=arguments.dataset,
        data_dir=arguments.data_dir,
        target=arguments.target,
        victim_epochs=arguments.epochs,
        seed=arguments.seed,
    )
    cache, recipe, model = cache_folder(None), config.recipe, config.victim.architecture
    preparation = Preparation(config, cache, display)
    scenario = preparation.prepare_attack(preparation.load_scenario(), recipe)
    with display.stage(f"victim of {attack}", "epochs") as step:
        victim = train_victim(scenario, model, recipe, cache=cache, progress=step).state
    with display.stage("clean model", "epochs") as step:
        clean = train_reference(scenario, model, recipe, cache=cache, progress=step)
    found = [score_state(state, model, scenario, scenario.test) for state in (victim, clean)]
    return found[0], found[1]


if __name__ == "__main__":
    main(tyro.cli(Arguments))
