"""What every attack owes, run over every entry of ATTACKS."""

import dataclasses
import json
import pickle
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from nad import models
from nad.attacks import ATTACKS, Attack, BadNets, Poisoned, describe, make, poison
from nad.attacks.base import Crafted
from nad.attacks.poisoning import choose
from nad.data.base import LabelledImages
from nad.errors import ConfigError, DataError

CLASSES = 5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(count: int, height: int = 32, width: int | None = None, seed: int = 1) -> Tensor:
    return torch.randint(0, 256, (count, 3, height, width or height), dtype=torch.uint8, generator=seeded(seed))


def labelled(count: int = 200, size: int = 16) -> LabelledImages:
    return LabelledImages(random_images(count, size), torch.arange(count) % CLASSES)


def ready(attack: Attack, images: LabelledImages | None = None) -> Attack:
    """The attack, after two steps on an untrained model where it is made on one."""
    if not attack.needs_clean_model:
        return attack
    model = models.make("wrn-10-1", CLASSES, seeded(7))
    brief = dataclasses.replace(attack, steps=2)  # type: ignore[type-var]
    return brief.with_crafted(brief.craft(model, images or labelled(20), seeded()))


def plant(clean: LabelledImages, attack: Attack, seed: int = 0) -> Poisoned:
    chosen = choose(clean.labels, attack, seeded(seed))
    return poison(clean, ready(attack, clean[chosen]), seeded(seed))


@pytest.fixture(params=ATTACKS)
def settings(request: pytest.FixtureRequest) -> Attack:
    """An attack as it comes from its settings."""
    return make(request.param)


@pytest.fixture(params=ATTACKS)
def attack(request: pytest.FixtureRequest) -> Attack:
    """The same, ready to be planted."""
    return ready(make(request.param))


MODES = ("clean", "dirty", "all-to-all")


@pytest.fixture(params=[(name, mode) for name in ATTACKS for mode in MODES], ids="-".join)
def planted(request: pytest.FixtureRequest) -> Attack:
    name, mode = request.param
    return make(name, label_mode=mode, target=0 if mode == "all-to-all" else 2)


def test_an_attack_is_registered_under_its_name(attack: Attack) -> None:
    assert type(attack) is ATTACKS[attack.name]


def test_attacks_are_frozen_values(attack: Attack, settings: Attack) -> None:
    assert settings == make(settings.name)
    assert hash(settings) == hash(make(settings.name))
    assert hash(attack) == hash(ready(make(attack.name)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        attack.target = 1  # type: ignore[misc]


def test_an_attack_survives_pickling(attack: Attack) -> None:
    copy = pickle.loads(pickle.dumps(attack))
    assert copy == attack
    images = random_images(3)
    assert torch.equal(copy.trigger(images, seeded()), attack.trigger(images, seeded()))


@pytest.mark.parametrize("shape", [(8, 8), (32, 32), (48, 48), (8, 33), (40, 24)])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_trigger_keeps_shape_and_type_and_its_input(attack: Attack, shape: tuple[int, int], count: int) -> None:
    images = random_images(count, *shape)
    before = images.clone()
    triggered = attack.trigger(images, seeded())
    assert triggered.shape == images.shape
    assert triggered.dtype == torch.uint8
    assert torch.equal(images, before)


@pytest.mark.parametrize("value", [0, 255])
def test_every_image_is_changed(attack: Attack, value: int) -> None:
    for images in (random_images(64), torch.full((64, 3, 32, 32), value, dtype=torch.uint8)):
        changed = (attack.trigger(images, seeded()) != images).flatten(1).any(dim=1)
        assert changed.all()


def test_the_same_generator_state_gives_the_same_images(attack: Attack) -> None:
    images = random_images(50)
    assert torch.equal(attack.trigger(images, seeded(3)), attack.trigger(images, seeded(3)))


def test_trigger_ignores_the_global_random_state(attack: Attack) -> None:
    images = random_images(5)
    before = torch.get_rng_state()
    torch.manual_seed(1)
    first = attack.trigger(images, seeded())
    torch.manual_seed(2)
    assert torch.equal(first, attack.trigger(images, seeded()))
    torch.set_rng_state(before)


def test_trigger_takes_images_that_are_not_contiguous(attack: Attack) -> None:
    images = random_images(5, 16)
    strided = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(attack.trigger(strided, seeded()), attack.trigger(images, seeded()))


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 3, 32, 32),
        random_images(2)[0],
        random_images(2)[:, :1],
        random_images(2, 7),
        random_images(2, 7, 9),
    ],
    ids=["float", "one image", "one channel", "too small", "too low"],
)
def test_trigger_refuses_what_is_no_image_batch(attack: Attack, images: Tensor) -> None:
    with pytest.raises(DataError, match="a trigger needs"):
        attack.trigger(images, seeded())


def test_poison_touches_the_chosen_images_and_no_others(planted: Attack) -> None:
    clean = labelled()
    images, labels = clean.images.clone(), clean.labels.clone()
    poisoned = plant(clean, planted)
    assert torch.equal(clean.images, images)
    assert torch.equal(clean.labels, labels)
    touched = (poisoned.data.images != images).flatten(1).any(dim=1)
    assert torch.equal(torch.nonzero(touched).squeeze(1), poisoned.indices)
    others = ~touched
    assert torch.equal(poisoned.data.labels[others], labels[others])


def test_poison_counts_what_the_label_mode_says(planted: Attack) -> None:
    clean = labelled()
    poisoned = plant(clean, planted)
    whole = len(clean) // CLASSES if planted.label_mode == "clean" else len(clean)
    assert len(poisoned.indices) == round(planted.poison_rate * whole)


def test_labels_change_as_the_label_mode_says(planted: Attack) -> None:
    clean = labelled()
    poisoned = plant(clean, planted)
    was, now = clean.labels[poisoned.indices], poisoned.data.labels[poisoned.indices]
    if planted.label_mode == "all-to-all":
        assert now.tolist() == [(label + 1) % CLASSES for label in was.tolist()]
        assert set(was.tolist()) == set(range(CLASSES))
        return
    assert (now == planted.target).all()
    if planted.label_mode == "clean":
        assert torch.equal(poisoned.data.labels, clean.labels)
    else:
        assert (was != planted.target).all()


def test_all_to_all_labels_go_round_at_the_number_of_classes_that_is_given() -> None:
    clean = labelled()
    attack = make("badnets", label_mode="all-to-all", poison_rate=1.0)
    assert poison(clean, attack, seeded(), classes=7).data.labels.tolist() == (clean.labels + 1).tolist()


def test_all_to_all_labels_know_no_target(settings: Attack) -> None:
    with pytest.raises(ConfigError, match="target must be 0 where labels go all to all, got 2"):
        make(settings.name, label_mode="all-to-all", target=2)
    assert "target" not in describe(make(settings.name, label_mode="all-to-all"))


def test_poison_is_determined_by_the_generator(planted: Attack) -> None:
    clean = labelled()
    first, again, other = (plant(clean, planted, seed) for seed in (4, 4, 5))
    assert torch.equal(first.indices, again.indices)
    assert torch.equal(first.data.images, again.data.images)
    assert not torch.equal(first.indices, other.indices)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"target": 7}, "no training image has the target label 7; labels run from 0 to 4"),
        ({"poison_rate": 0.001, "label_mode": "clean"}, "asks for 0 poisoned images where 40 can carry the trigger"),
        (
            {"poison_rate": 0.9, "label_mode": "dirty"},
            "asks for 180 poisoned images where 160 can carry the trigger; choose a rate that asks for 1 to 160$",
        ),
    ],
)
@pytest.mark.parametrize("name", ATTACKS)
def test_poison_says_what_cannot_be_planted(name: str, settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        poison(labelled(), make(name, **settings), seeded())


@pytest.mark.parametrize("name", ATTACKS)
def test_class_with_too_few_images_ends_in_one_sentence(name: str) -> None:
    few = LabelledImages(random_images(21, 16), torch.tensor([1] * 20 + [0]))
    sentence = (
        r"a poison rate of 0.4 \(clean label\) asks for 0 poisoned images where 1 can carry the trigger;"
        " choose a rate that asks for 1, or give more images of class 0$"
    )
    with pytest.raises(ConfigError, match=sentence):
        poison(few, make(name, label_mode="clean", poison_rate=0.4), seeded())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"target": -1}, "target must be a class label, 0 or more, got -1"),
        ({"poison_rate": 0.0}, r"poison_rate must be in \(0, 1\], got 0"),
        ({"poison_rate": 1.01}, "poison_rate .* got 1.01"),
        ({"poison_rate": float("nan")}, "poison_rate .* got nan"),
        ({"label_mode": "dirt"}, "unknown label mode 'dirt'; did you mean 'dirty'"),
        ({"strenght": 1}, "has no setting 'strenght'; its settings: .*target"),
    ],
)
@pytest.mark.parametrize("name", ATTACKS)
def test_settings_out_of_range_are_refused(name: str, settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make(name, **settings)


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("badnets", {"size": 3.5}, "size must be a whole number, got 3.5"),
        ("badnets", {"target": "1"}, "target must be a whole number, got '1'"),
        ("badnets", {"target": 1.5}, "target must be a whole number, got 1.5"),
        ("badnets", {"poison_rate": "0.1"}, "poison_rate must be a number, got '0.1'"),
        ("badnets", {"fill": 3}, "unknown fill 3; known: chequered, white"),
        ("blend", {"key_seed": 1.5}, "key_seed must be a whole number, got 1.5"),
        ("cl", {"steps": 2.5}, "steps must be a whole number, got 2.5"),
        ("cl", {"corners": 4.0}, "corners must be 1 or 4, got 4.0"),
        ("refool", {"rounds": 2.0}, "rounds must be a whole number, got 2.0"),
        ("sig", {"delta": "a"}, "delta must be a number, got 'a'"),
    ],
)
def test_settings_of_another_type_are_refused(name: str, settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make(name, **settings)


@pytest.mark.parametrize(("mode", "rate"), [("clean", 0.8), ("dirty", 0.1), ("all-to-all", 0.1)])
def test_make_gives_the_usual_rate_of_the_label_mode(settings: Attack, mode: str, rate: float) -> None:
    assert make(settings.name, label_mode=mode).poison_rate == rate
    assert make(settings.name, label_mode=mode, poison_rate=0.25).poison_rate == 0.25


def test_a_setting_of_none_is_the_attacks_default(settings: Attack) -> None:
    made = make(settings.name, target=0, poison_rate=None, label_mode=None, reflections=None)
    assert made == ATTACKS[settings.name]()


@pytest.mark.parametrize("name", [name for name, kind in ATTACKS.items() if kind.needs_clean_model])
def test_what_is_made_on_a_model_is_no_setting(name: str) -> None:
    with pytest.raises(ConfigError, match="has no setting 'crafted'"):
        make(name, crafted=Crafted(torch.zeros(3, 3, 3, dtype=torch.uint8)))
    with pytest.raises(ConfigError, match=f"the attack '{name}' has to be made before it can be planted"):
        poison(labelled(), make(name), seeded())


def test_an_unknown_attack_is_named_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="unknown attack 'reful'; did you mean 'refool'"):
        make("reful")


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "refool"])
def test_only_refool_takes_reflections(name: str) -> None:
    with pytest.raises(ConfigError, match=f"attack '{name}' has no setting 'reflections'"):
        make(name, reflections="photographs")


def test_the_description_is_json_and_holds_every_setting_that_has_an_effect(attack: Attack) -> None:
    described = describe(attack)
    assert json.loads(json.dumps(described)) == described
    assert described["name"] == attack.name
    assert set(described) - {"version"} == {"name"} | {field.name for field in attack.settings()} - set(attack.omitted)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own(BadNets):
    """An attack of somebody's own, with settings of more kinds."""

    name: ClassVar[str] = "own"
    version: ClassVar[int] = 1
    key: object = None


class Changed(Own):
    """The same after its code was changed."""

    version: ClassVar[int] = 2


def test_a_version_is_told_from_the_second_on() -> None:
    assert "version" not in describe(Own())
    assert describe(Changed()) == {**describe(Own()), "version": 2}


def test_numbers_in_bulk_are_told_by_what_they_are() -> None:
    zeros, ones = torch.zeros(40, 40), torch.ones(40, 40)
    one = torch.zeros(40, 40)
    one[20, 20] = 1  # not shown where a tensor is printed
    for keys in ((zeros, ones, one), (zeros.numpy(), ones.numpy(), one.numpy()), ((zeros,), (ones,), (one,))):
        described = [json.dumps(describe(Own(key=key))) for key in keys]
        assert len(set(described)) == 3
    assert describe(Own(key=zeros)) == describe(Own(key=zeros.clone())) == describe(Own(key=zeros.numpy()))


@pytest.mark.parametrize("key", [object(), {1, 2}, (0.5, {(1, 2): 3})])
def test_a_setting_that_no_record_can_hold_is_refused(key: object) -> None:
    with pytest.raises(ConfigError, match=r"the setting 'key' of the attack 'own' is a .*, which no record can hold"):
        describe(Own(key=key))


def test_an_attack_that_is_made_on_a_model_says_so_and_when_it_is_ready(settings: Attack) -> None:
    assert settings.needs_clean_model == (type(settings).craft is not Attack.craft)
    assert settings.is_ready != settings.needs_clean_model
    assert ready(settings).is_ready


def test_settings_that_are_omitted_or_stronger_are_settings(settings: Attack) -> None:
    names = {field.name for field in settings.settings()}
    assert "crafted" not in names
    assert set(settings.omitted) <= names
    assert set(settings.stronger) <= names
    make(settings.name, **settings.stronger)


class Minimal(Attack):
    """An attack with nothing but its one method."""

    name: ClassVar[str] = "minimal"

    def plant(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return 255 - images


def test_one_method_makes_an_attack() -> None:
    attack, clean = Minimal(), labelled()
    poisoned = poison(clean, attack, seeded())
    assert torch.equal(poisoned.data.images[poisoned.indices], 255 - clean.images[poisoned.indices])
    assert len(poisoned.indices) == 20
    assert describe(attack) == {"name": "minimal", "target": 0, "poison_rate": 0.1, "label_mode": "dirty"}
    assert attack.is_ready
    with pytest.raises(DataError, match="a trigger needs"):
        attack.trigger(random_images(2, 7), seeded())


def test_an_attack_without_its_method_ends_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare(Attack):
        name: ClassVar[str] = "bare"

    monkeypatch.setattr("nad.attacks.ATTACKS", {"bare": Bare})
    with pytest.raises(ConfigError, match=r"the attack 'bare' cannot be made: .*; it needs a method `plant`"):
        make("bare")


def test_descriptions_are_equal_exactly_for_equal_settings(settings: Attack) -> None:
    described = describe(settings)
    assert describe(make(settings.name)) == described
    made = ready(settings)
    if settings.needs_clean_model:
        assert describe(made) == {**described, "steps": 2}
    for other in (make(settings.name, target=1), make(settings.name, poison_rate=0.3)):
        assert describe(other) != described
