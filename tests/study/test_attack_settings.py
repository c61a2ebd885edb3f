from dataclasses import dataclass

import pytest
import tyro

from nad.attacks import ATTACKS, make
from nad.errors import ConfigError
from study.attack_settings import describe_settings, parse, remedy
from study.config import StudyConfig
from study.run import main


def test_settings_are_read_by_the_type_of_their_default():
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
    ],
)
def test_what_is_no_setting_ends_in_one_sentence(attack, text, sentence):
    with pytest.raises(ConfigError, match=sentence.replace("?", r"\?")) as caught:
        StudyConfig(attack=attack, attack_args=(text,))
    assert "\n" not in str(caught.value)


def test_setting_given_twice_is_refused():
    with pytest.raises(ConfigError, match="gives steps twice"):
        parse("cl", ["steps=1", "steps=2"])


def test_command_line_hands_them_to_the_attack():
    args = ["--attack", "cl", "--label-mode", "all-to-all", "--attack-args", "steps=3", "corners=1"]
    config = tyro.cli(StudyConfig, args=args)
    attack = make(config.attack, **config.attack_settings)
    assert (attack.steps, attack.corners, attack.label_mode, attack.poison_rate) == (3, 1, "all-to-all", 0.1)


def test_settings_of_ones_own_attack_are_read_by_their_defaults(monkeypatch):
    @dataclass(frozen=True, kw_only=True)
    class Own:
        """An attack."""

        soft: bool = True
        where: str = "left"
        key: object = None

    monkeypatch.setattr("study.attack_settings.ATTACKS", {"own": Own})
    assert parse("own", ["soft=false", "where=right"]) == {"soft": False, "where": "right"}
    assert describe_settings("own").endswith("with their defaults: soft=true where=left")
    with pytest.raises(ConfigError, match="'soft=no' must be true or false"):
        parse("own", ["soft=no"])
    with pytest.raises(ConfigError, match="unknown setting of the attack 'own' 'key'"):
        parse("own", ["key=1"])


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_says_what_it_is_and_what_it_can_be_given(attack):
    text = describe_settings(attack)
    assert text.startswith(f"The attack {attack}: ")
    listed = text.partition("defaults: ")[2].split()
    assert make(attack, **parse(attack, listed)) == make(attack)


def test_remedy_for_a_backdoor_that_did_not_take_names_stronger_settings_that_are_settings():
    usual, stronger = "poison more, train longer", "transmission=0.25 rounds=4 round_epochs=3"
    for weak in ({}, {"rounds": 2}, {"transmission": 0.2}):
        assert remedy(make("refool", **weak)) == f"{usual}, plant a stronger trigger (--attack-args {stronger})"
    assert remedy(make("refool", **parse("refool", stronger.split()))) == usual
    assert remedy(make("badnets")) == usual


def test_help_tells_of_the_attack_that_is_given(capsys):
    sig = "delta=40 frequency=6"
    for arguments, shown in ((["--attack", "sig"], sig), (["--attack=sig"], sig), ([], "transmission=0.4")):
        with pytest.raises(SystemExit):
            main([*arguments, "--help"])
        assert shown in " ".join(capsys.readouterr().out.replace("│", " ").split())
