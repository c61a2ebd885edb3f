"""`nad-study defend`: another defence than NAD on a model, without Ray."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, ClassVar

import tyro

from nad import defences
from nad.data.folder import Owned
from nad.defences import DEFENCES, Defence, Stats
from nad.errors import ConfigError, unknown_name
from nad.formats import ForeignModel
from nad.seeds import generator
from nad.training import TrainConfig
from study.commands import own_model, scoring
from study.commands.own_model import OwnModelConfig
from study.display.progress import Display
from study.engine.devices import driver_device
from study.options.command_line import one_line_errors
from study.options.helptext import documented
from study.options.setting_texts import listed, read_settings
from study.signals import read_to_the_end
from study.stages import model_card


@documented
@dataclass(frozen=True, kw_only=True)
class DefendConfig(OwnModelConfig):
    """Defend a model by another defence than NAD.

    Writes the defended model and its card. The effect on a backdoor is measured where triggered images are known: those
    in the model's file, or --attack or --trigger.
    """

    default_name: ClassVar[str] = "defended"

    defence: tyro.conf.Positional[str]
    """fine-tuning, fine-tuning-backdoorbench, fine-pruning, mode-connectivity, anp, fst, i-bau or ft-sam. With one of
    them, --help lists its settings."""
    defence_args: tuple[str, ...] = ()
    """Settings of the defence as NAME=VALUE, such as max_acc_drop=0.05 tuning.epochs=5."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.made  # noqa: B018 - raises for unknown defences and settings

    @property
    def made(self) -> Defence:
        """The defence with its settings."""
        return defence_from(self.defence, self.defence_args)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns 0, 2 for a mistake, 130 for an interrupt."""
    given = list(sys.argv[1:] if arguments is None else arguments)

    def work(display: Display) -> None:
        with one_line_errors(DefendConfig, given):
            config = tyro.cli(DefendConfig, args=given, prog="nad-study defend", description=description(given))
        defend(config, display)

    return own_model.run_command(work)


def description(given: Sequence[str]) -> str:
    """Start of --help: the command, and the defence given with it."""
    of_defence = [describe_settings(word) for word in given if word in DEFENCES][:1]
    return "\n\n".join((inspect.cleandoc(DefendConfig.__doc__ or ""), *of_defence))


def describe_settings(name: str) -> str:
    """A paragraph for --help: a defence, and its settings with their defaults."""
    first = inspect.cleandoc(DEFENCES[name].__doc__ or "").splitlines()[0]
    said = {key: value for key, value in _defaults(defences.make(name)).items() if value is not None}
    return f"The defence {name}: {first} Its settings for --defence-args, with their defaults: {listed(said)}"


def defence_from(name: str, texts: Sequence[str]) -> Defence:
    """The defence of this name, with settings from texts such as t=0.1 or tuning.epochs=5.

    Raises: ConfigError for an unknown name or setting, or a bad value.
    """
    defence = defences.make(name)
    defaults = _defaults(defence)

    def unknown(_text: str, setting: str) -> ConfigError:
        return unknown_name(f"setting of the defence {name!r}", setting, defaults)

    changed: dict[str, Any] = {}
    for setting, value in read_settings("--defence-args", texts, defaults, unknown).items():
        part, dot, inner = setting.partition(".")
        changed[part] = replace(changed.get(part, getattr(defence, part)), **{inner: value}) if dot else value
    return replace(defence, **changed)


def _defaults(defence: Defence) -> dict[str, Any]:
    """By name; those of a training as training.setting."""
    found: dict[str, Any] = {}
    for each in fields(defence):
        value = getattr(defence, each.name)
        if isinstance(value, TrainConfig):
            found |= {f"{each.name}.{inner.name}": getattr(value, inner.name) for inner in fields(value)}
        elif value is None or not is_dataclass(value):
            found[each.name] = value
    return found


def defend(config: DefendConfig, display: Display) -> None:
    """Defend a model; write it and its card.

    Raises: NadError for the user's mistakes, before anything slow; later for a full disk.
    """
    own_model.require_ready(config)
    defence = config.made
    config, model = own_model.read_model(config, display)
    defence.require_fit(model.network())
    images = own_model.read_images(config, model, display)
    device = driver_device()
    victim = model.network().to(device)
    own_model.require_known(config, victim, images, device)
    scored = scoring.scored_images(config, config.seed, model, images)
    before = scoring.measure_before(scored, victim, device, display)
    with display.stage(f"defence {defence.name}", "steps") as step:
        defended = defence.defend(
            victim,
            images.train,
            flip=config.used_flip,
            generator=generator(config.seed, "defence"),
            device=device,
            progress=step,
        )
    after = scoring.measure(scored, defended.model, device)
    if defended.stats:
        display.say(f"{defence.name}: {_said(defended.stats)}")
    own_model.write_model(
        config,
        defended.model,
        model.trained_on.class_names or images.class_names,
        _facts(config, defence, model, images, defended.stats),
        scoring.compared(scored, before, after),
        partial(model_card.of_defended, defence.name),
        "defended model",
        display,
    )


def _facts(
    config: DefendConfig, defence: Defence, model: ForeignModel, images: Owned, stats: Stats
) -> Mapping[str, str]:
    of_model, of_work = own_model.shared_facts(config, model)
    settings = {name: value for name, value in _defaults(defence).items() if value is not None}
    return {
        **of_model,
        "defence": f"{defence.name}: {listed(settings)}",
        "what it did": _said(stats) or "nothing countable",
        "clean images": f"{len(images.train):,}",
        **of_work,
    }


def _said(stats: Stats) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in stats.items())


if __name__ == "__main__":
    with read_to_the_end():
        sys.exit(main())
