from dataclasses import dataclass
from typing import Any

import pytest
import tyro

from nad.attacks import ATTACKS, Attack, make
from nad.attacks.allowed import OneOf, Within, allowed_of, needs_of
from nad.errors import ConfigError
from study.options.attack_settings import describe_settings, parse, remedy
from study.options.config import StudyConfig
from study.run import main


def test_settings_are_read_by_the_type_of_their_default() -> None:
    assert parse("cl", ["steps=100", "epsilon=8", "step=1.5"]) == {"steps": 100, "epsilon": 8.0, "step": 1.5}
    assert parse("refool", ["kinds=ghost,out-of-focus"]) == {"kinds": ("ghost", "out-of-focus")}
    assert parse("blend", ["key-seed=3"]) == {"key_seed": 3}
    assert make("cl", **parse("cl", ["epsilon=8"])).epsilon == 8


@pytest.mark.parametrize(
    ("attack", "text", "sentence"),
    [
        ("cl", "steps", "--attack-args 'steps' is not NAME=VALUE"),
        ("cl", "epsilom=8", "unknown setting of the attack 'cl' 'epsilom'; did you mean 'epsilon'. known: amplitude, "),
        ("cl", "steps=1.5", "--attack-args 'steps=1.5' must be a whole number, such as 10"),
        ("blend", "alpha=much", "--attack-args 'alpha=much' must be a number, such as 0.2"),
        ("sig", "target=3", "target has an option of its own, --target"),
        ("custom", "pattern=t.png", "pattern has an option of its own, --trigger"),
        ("trojan", "crafted=x", "unknown setting of the attack 'trojan' 'crafted'"),
        ("badnets", "width=3", "unknown setting of the attack 'badnets' 'width'"),
        ("refool", "selected=20", "selected=20 has no effect without rounds; give rounds too, or leave selected out"),
        ("refool", "selected=10", "selected=10 has no effect without rounds"),
        ("refool", "round-epochs=3", "round_epochs=3 has no effect without rounds"),
    ],
)
def test_what_is_no_setting_ends_in_one_sentence(attack: str, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence.replace("?", r"\?")) as caught:
        StudyConfig.of(attack=attack, attack_args=(text,))
    assert "\n" not in str(caught.value)


def test_settings_of_the_selection_are_taken_with_rounds() -> None:
    assert parse("refool", ["selected=20", "rounds=2"]) == {"selected": 20, "rounds": 2}
    with pytest.raises(ConfigError, match="selected=20 has no effect without rounds"):
        parse("refool", ["selected=20", "rounds=0"])


def test_setting_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="gives steps twice"):
        parse("cl", ["steps=1", "steps=2"])


def test_command_line_hands_them_to_the_attack() -> None:
    args = ["--attack", "cl", "--label-mode", "all-to-all", "--attack-args", "steps=3", "corners=1"]
    config = tyro.cli(StudyConfig, args=args)
    attack = make(config.victim.attack, **config.victim.attack_settings)
    assert (attack.steps, attack.corners, attack.label_mode, attack.poison_rate) == (3, 1, "all-to-all", 0.1)


def test_settings_of_ones_own_attack_are_read_by_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Own(Attack):
        """An attack."""

        soft: bool = True
        where: str = "left"
        key: object = None

    monkeypatch.setattr("study.options.attack_settings.ATTACKS", {"own": Own})
    assert parse("own", ["soft=false", "where=right"]) == {"soft": False, "where": "right"}
    assert describe_settings("own").endswith("with their defaults: soft=true where=left")
    with pytest.raises(ConfigError, match="'soft=no' must be true or false"):
        parse("own", ["soft=no"])
    with pytest.raises(ConfigError, match="unknown setting of the attack 'own' 'key'"):
        parse("own", ["key=1"])


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_says_what_it_is_and_what_it_can_be_given(attack: Any) -> None:
    text = describe_settings(attack)
    assert text.startswith(f"The attack {attack}: ")
    listed = text.partition("defaults: ")[2].partition("\n")[0].split()
    usable = [each for each in listed if each.partition("=")[0] not in needs_of(ATTACKS[attack])]
    assert make(attack, **parse(attack, usable)) == make(attack)
    may_be = text.partition("What they may be: ")[2]
    assert all(f"{each.partition('=')[0]} " in may_be for each in listed)


@pytest.mark.parametrize(
    ("attack", "shown"),
    [
        ("badnets", "fill chequered or white; size 1 to 512; place bottom-right, bottom-left, top-right, top-left or"),
        ("blend", "alpha above 0, up to 1; key_seed 0 to 2,147,483,647."),
        ("cl", "step above 0, up to 255; steps 1 to 10,000; amplitude 1 to 255; corners 1 or 4."),
        ("refool", "kinds one or more of ghost,out-of-focus,in-focus; transmission 0 to 1;"),
    ],
)
def test_help_says_what_settings_may_be(attack: str, shown: str) -> None:
    assert shown in describe_settings(attack)


@pytest.mark.parametrize(
    ("attack", "name", "allowed"),
    [(attack, name, allowed) for attack in ATTACKS for name, allowed in allowed_of(ATTACKS[attack]).items()],
)
def test_what_help_says_is_what_is_checked(attack: Any, name: str, allowed: Any) -> None:
    others = {"selected": {"rounds": 2}, "transmission_spread": {"transmission": 0.5}}.get(name, {})
    if isinstance(allowed, Within):
        beyond = (allowed.low if allowed.low_open else allowed.low - 1, allowed.high + 1)
        inside = () if name in ("rounds", "selected") else (allowed.high,)  # these depend on other things, too
    elif isinstance(allowed, OneOf):
        beyond, inside = ("elsewhere",), allowed.values
    else:
        beyond, inside = (("elsewhere",), (), "ghost"), (allowed.values,)
    for value in inside:
        assert getattr(make(attack, **{name: value}, **others), name) == value
    for value in beyond:
        with pytest.raises(ConfigError):
            make(attack, **{name: value}, **others)


def test_remedy_for_a_backdoor_that_did_not_take_names_stronger_settings_that_are_settings() -> None:
    usual = "poison more than 8 of the 10 images that can carry its trigger, train longer"
    stronger = "transmission=0.25 rounds=4 round_epochs=3"
    for weak in ({}, {"rounds": 2}, {"transmission": 0.2}):
        said = remedy(make("refool", **weak), 8, 10, selectable=True)
        assert said == f"{usual}, plant a stronger trigger (--attack-args {stronger})"
    assert remedy(make("refool", **parse("refool", stronger.split())), 8, 10, selectable=True) == usual
    assert remedy(make("badnets"), 8, 10, selectable=True) == usual


def test_remedy_on_images_too_few_to_select_by_asks_for_no_rounds() -> None:
    assert remedy(make("refool"), 8, 10, selectable=False).endswith("(--attack-args transmission=0.25)")


def test_remedy_for_a_class_all_of_whose_images_are_poisoned() -> None:
    said = "all 3 images that can carry its trigger do: give more of them, train longer"
    assert remedy(make("badnets"), 3, 3, selectable=True) == said


def test_help_tells_of_the_attack_that_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    sig = "delta=40 frequency=6"
    for arguments, shown in ((["--attack", "sig"], sig), (["--attack=sig"], sig), ([], "transmission=0.4")):
        with pytest.raises(SystemExit):
            main([*arguments, "--help"])
        assert shown in " ".join(capsys.readouterr().out.replace("│", " ").split())
