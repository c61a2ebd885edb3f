"""The contract of defences, run over every entry of DEFENCES."""

import dataclasses
import json
from typing import Any

import pytest
import torch
from bands import make_images
from torch import nn

from nad import models
from nad.checkpoints import copy_state
from nad.data.base import LabelledImages
from nad.defences import DEFENCES, Defence, Defended, describe, make
from nad.errors import ConfigError, DataError, TrainingDiverged
from nad.seeds import generator
from nad.training import TrainConfig

SHORT = TrainConfig(epochs=2, batch_size=16, lr=0.01)
HOLDOUT = make_images(32, 0)


def quick(name: str) -> Defence:
    """The defence with its trainings cut short."""
    defence = make(name)
    trainings = {
        field.name: SHORT
        for field in dataclasses.fields(defence)
        if isinstance(getattr(defence, field.name), TrainConfig)
    }
    lengths = {name: few for name, few in {"iterations": 3, "rounds": 1}.items() if hasattr(defence, name)}
    return dataclasses.replace(defence, **trainings, **lengths)


def victim() -> torch.nn.Module:
    return models.make("wrn-10-1", 4, generator(0))


def defend(defence: Defence, model: torch.nn.Module | None = None, seed: int = 0, holdout=HOLDOUT, **more) -> Defended:
    return defence.defend(model or victim(), holdout, flip=True, generator=generator(seed), **more)


@pytest.fixture(params=DEFENCES)
def defence(request: pytest.FixtureRequest) -> Defence:
    return quick(request.param)


def test_a_defence_is_a_frozen_value_registered_under_its_name(defence: Defence) -> None:
    assert type(defence) is DEFENCES[defence.name]
    assert defence == quick(defence.name)
    assert hash(defence) == hash(quick(defence.name))
    with pytest.raises(dataclasses.FrozenInstanceError):
        defence.name = "other"


def test_its_description_is_plain_and_tells_settings_apart(defence: Defence) -> None:
    assert json.loads(json.dumps(describe(defence))) == describe(defence)
    assert describe(defence)["name"] == defence.name
    assert describe(make(defence.name)) != describe(defence)


def test_a_version_is_told_from_the_second_on(defence: Defence) -> None:
    assert describe(defence).get("version", 1) == defence.version
    first, second = (type("Changed", (type(defence),), {"version": version}) for version in (1, 2))
    assert "version" not in describe(first())
    assert describe(second()) == {**describe(first()), "version": 2}


def test_the_victim_stays_and_the_defended_model_is_another(defence: Defence) -> None:
    model = victim().train()
    before = copy_state(model)
    found = defend(defence, model)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.training
    assert not found.model.training
    ours, theirs = found.model.state_dict(), model.state_dict()
    assert ours.keys() == theirs.keys(), "the defended model loads wherever the victim does"
    assert all(value.isfinite().all() for value in ours.values())
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in found.model.parameters())


def test_the_same_seed_defends_bit_identically_whatever_ran_before(defence: Defence) -> None:
    first = defend(defence)
    torch.rand(7)
    again = defend(defence)
    states = first.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert first.stats == again.stats
    assert json.loads(json.dumps(first.stats)) == dict(first.stats)
    assert all(isinstance(figure, int | float) for figure in first.stats.values())


def test_all_randomness_is_the_generators(defence: Defence) -> None:
    before = torch.random.get_rng_state()
    defend(defence)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_layers_that_draw_do_so_from_the_generator_too(defence: Defence) -> None:
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(8, 4)
    model = nn.Sequential(*layers)
    before = torch.random.get_rng_state()
    first = defend(defence, model).model.state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(7)
    again = defend(defence, model).model.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize(
    ("model", "images", "labels", "error", "sentence"),
    [
        (None, HOLDOUT.images, HOLDOUT.labels + 7, DataError, "label 10 of the holdout is none of the model's classes"),
        (None, HOLDOUT.images[:, :1], HOLDOUT.labels, ConfigError, r"cannot read float32 images of shape \(1, "),
        (None, HOLDOUT.images * 1.0, HOLDOUT.labels, DataError, r"floating-point images must be in \[0, 1\]"),
        ("frozen", HOLDOUT.images, HOLDOUT.labels, ConfigError, "no trainable parameter"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    defence: Defence, model: str | None, images: Any, labels: Any, error: Any, sentence: str
) -> None:
    given = victim().requires_grad_(model is None)
    with pytest.raises(error, match=sentence):
        defend(defence, given, holdout=LabelledImages(images, labels))


class Elsewhere(nn.Module):
    """Its parameter is on the meta device, its logits on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, device="meta"))

    def forward(self, inputs):
        return torch.zeros(len(inputs), 4)


def test_a_model_is_defended_where_it_is() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Idle(Defence):
        name = "idle"

        def change(self, model, context) -> None:
            assert context.device == torch.device("meta")
            return {}

    assert defend(Idle(), Elsewhere()).model.weight.device == torch.device("meta")


def test_a_defence_of_ones_own_meets_each_module_in_the_mode_it_was_in() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Looking(Defence):
        name = "looking"

        def change(self, model, context) -> None:
            return {name: module.training for name, module in model.named_modules() if name in {"conv1", "bn"}}

    model = victim().train()
    model.bn.eval()
    assert defend(Looking(), model).stats == {"conv1": True, "bn": False}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"device": "foo"}, "the device 'foo' cannot be used here; give 'cpu', or a GPU that torch finds"),
        ({"model": "wrn"}, "the model must be of type Module, got str"),
    ],
)
def test_a_device_or_a_model_that_is_none_is_refused(defence: Defence, options: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        defend(defence, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_refused(defence: Defence) -> None:
    with pytest.raises(ConfigError, match="the device 'cuda' cannot be used here"):
        defend(defence, device="cuda")


def test_a_defence_of_ones_own_has_to_say_what_it_did() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Silent(Defence):
        name = "silent"

        def change(self, model, context) -> None:
            pass

    with pytest.raises(ConfigError, match=r"'silent' returns None from `change`; it has to return figures by name"):
        defend(Silent())


def test_a_defence_of_ones_own_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Unfinished(Defence):
        name = "unfinished"
        strength: float

    monkeypatch.setattr("nad.defences.DEFENCES", {"unfinished": Unfinished})
    with pytest.raises(ConfigError, match=r"'unfinished' cannot be made: .*; it needs a method `change`, and a"):
        make("unfinished")


def test_progress_rises_to_its_end(defence: Defence) -> None:
    seen = []
    defend(defence, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(set(seen))
    assert len({total for _done, total in seen}) == 1
    assert seen[-1][0] == seen[-1][1]


def test_divergence_is_an_error_not_a_model(defence: Defence) -> None:
    broken = victim()
    torch.nn.init.constant_(broken.fc.weight, torch.nan)
    with pytest.raises(TrainingDiverged, match="diverged: its loss was nan"):
        defend(defence, broken)


@pytest.mark.parametrize("count", [0, 1])
def test_a_holdout_that_is_too_small_is_refused(defence: Defence, count: int) -> None:
    few = LabelledImages(HOLDOUT.images[:count], HOLDOUT.labels[:count])
    with pytest.raises(DataError, match=f"at least two images, got {count}"):
        defend(defence, holdout=few)


def test_a_holdout_may_come_as_two_tensors(defence: Defence) -> None:
    one, other = (defend(defence, holdout=holdout) for holdout in (HOLDOUT, (HOLDOUT.images, HOLDOUT.labels)))
    assert all(map(torch.equal, one.model.state_dict().values(), other.model.state_dict().values()))


class Drawn(torch.utils.data.Dataset):
    """Its items are drawn from torch's own generator."""

    def __len__(self) -> int:
        return len(HOLDOUT)

    def __getitem__(self, index):
        image = HOLDOUT.images[index]
        return (image.flip(-1) if torch.rand(()) < 0.5 else image), HOLDOUT.labels[index]


def test_a_holdout_that_draws_does_so_from_the_generator_too(defence: Defence) -> None:
    before = torch.random.get_rng_state()
    first = defend(defence, holdout=Drawn()).model.state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(7)
    again = defend(defence, holdout=Drawn()).model.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_two_images_are_enough(defence: Defence) -> None:
    few = LabelledImages(HOLDOUT.images[:2], HOLDOUT.labels[:2])
    assert all(value.isfinite().all() for value in defend(defence, holdout=few).model.state_dict().values())


@pytest.mark.parametrize("model", ["wrn-10-2"])
def test_other_architectures_are_defended_too(defence: Defence, model: str) -> None:
    undefended = models.make(model, 4, generator(0))
    found = defend(defence, undefended)
    before, after = undefended.state_dict(), found.model.state_dict()
    assert after.keys() == before.keys()
    assert all(value.isfinite().all() for value in after.values())
    changed = any(not torch.equal(before[name], after[name]) for name in before)
    assert changed or found.stats["channels_pruned"] == 0


@pytest.mark.parametrize("model", models.MODELS)
def test_every_model_of_the_project_can_be_defended(defence: Defence, model: Any) -> None:
    defence.require_fit(models.make(model, 4))


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("anpp", {}, "unknown defence 'anpp'; did you mean 'anp'"),
        ("fine-pruning", {"max_acc_drop": -0.1}, "max_acc_drop must be in"),
        ("fine-pruning", {"held_back": 0.0}, "held_back must be in"),
        (
            "fine-pruning",
            {"max_drop": 0.1},
            "unknown setting of the defence 'fine-pruning' 'max_drop'; did you mean 'max_a",
        ),
        ("mode-connectivity", {"t": 1.5}, "t must be in .*, got 1.5"),
        ("anp", {"threshold": 1.0}, "threshold must be in"),
        ("anp", {"eps": float("nan")}, "eps must be in"),
        ("anp", {"iterations": 0}, "iterations must be in"),
        ("anp", {"steps": 1.5}, "steps must be a whole number, got 1.5"),
        ("fst", {"alpha": -1.0}, "alpha must be in"),
        ("i-bau", {"depth": 0}, "depth must be in"),
        ("i-bau", {"lr": 0.0}, "lr must be in"),
        ("mode-connectivity", {"curve": 100}, "curve must be of type TrainConfig, got int"),
        ("fine-tuning", {"tuning": 5}, "tuning must be of type TrainConfig, got int"),
        ("fine-pruning", {"tuning": {"epochs": 1}}, "tuning must be of type TrainConfig, got dict"),
    ],
)
def test_bad_settings_are_refused(name: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make(name, **settings)
