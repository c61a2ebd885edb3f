"""What has to be there before the first trial, for attacks that are made on a clean model; without an engine."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import nn

from nad import models
from nad.attacks import ATTACKS, describe
from nad.checkpoints import copy_state, state_digest
from nad.erasure import TEACHER
from nad.errors import ConfigError, DataError
from nad.evaluation import Scores, Skill, evaluate
from nad.formats import ForeignModel
from nad.models import DistillableModel
from nad.seeds import generator
from nad.victim import Victim, VictimConfig
from study.commands.defend import DefendConfig
from study.commands.own_model import read_images
from study.display.progress import Display
from study.engine.erase_task import as_arrays
from study.options.config import StudyConfig
from study.record.provenance import identity, require_same
from study.stages.preparation import Preparation, require_models
from study.stages.teachers import TEACHER_VERSION, with_teachers
from study.stages.workload import make_workload

RECIPE = VictimConfig(epochs=10)


def test_images_are_mirrored_unless_a_mirrored_one_is_of_another_class(image_folder: Path, cache: Path) -> None:
    config = StudyConfig.of(
        attack="badnets", dataset="folder", data_dir=image_folder, image_size=16, clean_fractions=(0.2,)
    )
    unmirrored = config.changed(flip=False)
    flips, identities = [], []
    for each in (config, unmirrored):
        scenario = Preparation(each, cache, Display(Console(file=io.StringIO()))).load_scenario()
        flips.append(scenario.dataset.flip)
        identities.append(identity(each, scenario, RECIPE))
    assert flips == [True, False]
    with pytest.raises(ConfigError, match=r"made with flip true \(now false\)"):
        require_same("s", *identities)
    del identities[0]["flip"]  # as in studies from before there was a choice
    with pytest.raises(ConfigError, match=r"made with flip true \(now false\)"):
        require_same("s", *identities)


def test_home_is_found_in_the_folders_of_images_and_of_reflections(
    image_folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell leaves the tilde of --data-dir=~/images as it is."""
    (tmp_path / "images").symlink_to(image_folder)
    (tmp_path / "panes").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "panes" / "one.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    config = StudyConfig.of(
        dataset="folder",
        data_dir=Path("~/images"),
        image_size=16,
        clean_fractions=(0.2,),
        reflections=Path("~/panes"),
    )
    scenario = Preparation(config, cache, Display(Console(file=io.StringIO()))).load_scenario()
    assert len(scenario.dataset.train) == 200
    assert scenario.attack.reflections.source == "folder panes"


@pytest.fixture
def odd_folder(tmp_path: Path) -> Path:
    """Two classes and a file that is no image; class b is one image over and over, in the test part too."""
    rng = np.random.default_rng(0)
    for part, label, count in (("train", "a", 3), ("train", "b", 3), ("test", "a", 1), ("test", "b", 1)):
        (tmp_path / part / label).mkdir(parents=True)
        for index in range(count):
            pixels = np.zeros((16, 16, 3), np.uint8) if label == "b" else rng.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / part / label / f"{index}.png")
    (tmp_path / "train" / "a" / "0.heic").write_bytes(b"cannot be read")
    return tmp_path


ODD = (
    "skipped files: 1 .heic\n",
    "the same image twice, by its pixels at 16x16: 1 of 2 test images are training images too"
    " (test/b/0.png is train/b/0.png); 2 of 6 training images repeat another (train/b/1.png is train/b/0.png)\n",
)


def test_a_study_says_what_is_skipped_and_what_is_there_twice(odd_folder: Path, cache: Path) -> None:
    config = StudyConfig.of(
        attack="badnets", dataset="folder", data_dir=odd_folder, image_size=16, clean_fractions=(0.4,), poison_rate=0.5
    )
    told = io.StringIO()
    Preparation(config, cache, Display(Console(file=told))).load_scenario()
    straddling = "1 of 2 validation images are training images too: their classes have hardly any others\n"
    assert all(line in told.getvalue() for line in (*ODD, straddling))


def test_apply_and_defend_say_it_too(odd_folder: Path, cache: Path) -> None:
    config = DefendConfig(
        defence="fine-tuning", victim=Path("model.safetensors"), data=odd_folder, image_size=16, cache=cache
    )
    model = ForeignModel("state-dict", "wrn-10-1", 2, {}, None, None, ())
    told = io.StringIO()
    read_images(config, model, Display(Console(file=told)))
    assert all(line in told.getvalue() for line in ODD)


@pytest.mark.parametrize("attack", ["cl", "trojan"])
def test_attack_made_on_a_clean_model_is_made_once_and_shown(
    attack: str, image_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = StudyConfig.of(
        attack=attack,
        attack_args=("steps=2",),
        label_mode="all-to-all",
        poison_rate=0.3,
        dataset="folder",
        data_dir=image_folder,
        image_size=16,
        model="wrn-10-1",
        clean_fractions=(0.2,),
        allow_weak_backdoor=True,
    )
    shown = io.StringIO()
    display = Display(Console(file=shown))
    preparation = Preparation(config, cache, display)
    scenario = preparation.load_scenario()
    ready = preparation.prepare_attack(scenario, RECIPE)
    assert f"attack {attack}: 2/2 steps" in shown.getvalue()
    assert identity(config, ready, RECIPE) == identity(config, scenario, RECIPE)
    assert describe(ready.attack)["steps"] == 2
    victim = preparation.prepare_victim(ready, RECIPE)

    monkeypatch.setattr(ATTACKS[attack], "craft", lambda *arguments: pytest.fail("it is in the cache"))
    again = preparation.prepare_attack(preparation.load_scenario(), RECIPE)
    assert again.attack == ready.attack
    repeated = preparation.prepare_victim(again, RECIPE)
    assert state_digest(repeated.state) == state_digest(victim.state)

    workload = make_workload(config, again, victim, again.validation)
    assert workload.target.tolist() == ((workload.triggered_labels + 1) % 4).tolist()
    assert len(np.unique(workload.target)) == 4
    network = workload.network(as_arrays(victim.state), torch.device("cpu"))
    assert evaluate(network, workload.eval_set()) == victim.scores


def test_clean_model_that_learnt_nothing_ends_in_one_sentence(
    image_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = StudyConfig.of(
        attack="trojan",
        dataset="folder",
        data_dir=image_folder,
        image_size=16,
        model="wrn-10-1",
        clean_fractions=(0.2,),
    )
    monkeypatch.setattr("nad.preparation.measure_skill", lambda *arguments, **options: Skill(0.35, 0.3))
    display = Display(Console(file=io.StringIO()))
    preparation = Preparation(config, cache, display)
    scenario = preparation.load_scenario()
    with pytest.raises(
        ConfigError, match=r"accuracy is 35.0%, .* every image 25.0%, .* the classes, 30.0%; train it longer"
    ):
        preparation.prepare_attack(scenario, RECIPE)


@pytest.mark.parametrize(
    ("attack", "settings", "error", "sentence"),
    [
        ("trojan", ("size=16",), DataError, "a patch of 16 pixels a side hides too much of images of 16x16"),
        ("cl", (), ConfigError, r"poison rate of 0.001 \(clean label\) asks for 0 poisoned images"),
    ],
)
def test_attack_that_can_never_be_planted_is_refused_before_a_clean_model_is_trained(
    attack: str,
    settings: dict[str, Any],
    error: Any,
    sentence: str,
    image_folder: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = StudyConfig.of(
        attack=attack,
        attack_args=settings,
        poison_rate=0.001 if attack == "cl" else None,
        dataset="folder",
        data_dir=image_folder,
        image_size=16,
        model="wrn-10-1",
        clean_fractions=(0.2,),
    )
    monkeypatch.setattr("study.stages.preparation.train_reference", lambda *a, **o: pytest.fail("too late"))
    display = Display(Console(file=io.StringIO()))
    with pytest.raises(error, match=sentence):
        Preparation(config, cache, display).prepare_attack(Preparation(config, cache, display).load_scenario(), RECIPE)


@pytest.mark.parametrize(
    ("attack", "settings", "sentence"),
    [
        (
            "refool",
            ("transmission=1",),
            "the attack 'refool' changes nothing in any of 16 images; plant a stronger one",
        ),
        ("blend", ("alpha=0.001",), "the attack 'blend' changes nothing in any of 16 images"),
        ("blend", ("alpha=1",), "the attack 'blend' makes all images the same; leave something of them"),
    ],
)
def test_trigger_that_shows_nothing_or_hides_everything_is_refused_at_once(
    attack: str, settings: dict[str, Any], sentence: str, image_folder: Path, cache: Path
) -> None:
    images = {"dataset": "folder", "data_dir": image_folder, "image_size": 16, "clean_fractions": (0.2,)}
    config = StudyConfig.of(attack=attack, attack_args=settings, model="wrn-10-1", **images)
    with pytest.raises(ConfigError, match=sentence):
        Preparation(config, cache, Display(Console(file=io.StringIO()))).load_scenario()


class Own(DistillableModel):
    """A model of somebody's own."""

    distillation_layers = ("body",)

    def __init__(self, classes) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.pool(self.body(x)).flatten(1))


class Talkative(Own):
    def forward(self, x):
        return super().forward(x), x


class Blank(Own):
    distillation_layers = ()


class Pooled(Own):
    distillation_layers = ("body", "pool")


class Misspelt(Own):
    distillation_layers = ("bdy",)


@pytest.mark.parametrize(
    ("model", "attack", "sentence"),
    [
        (Pooled, "badnets", "the layer 'pool' gives 1x1 maps of images of 16x16 pixels"),
        (Misspelt, "badnets", "unknown layer 'bdy'; did you mean 'body'"),
        (Blank, "badnets", "the model 'own' names no distillation_layers"),
        (Talkative, "badnets", "the model returns a tuple; it has to return logits"),
        (Own, "trojan", "the model 'own' has no linear layer 'fc'; name its last one in `classifier`"),
        (
            lambda classes, width: Own(classes),
            "badnets",
            "the model 'own' cannot be made with classes=4 alone: .*width",
        ),
    ],
)
def test_model_of_ones_own_is_looked_at_before_anything_is_trained(
    model: Any, attack: str, sentence: str, image_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(models.MODELS, "own", model)
    models.distillation_layers.cache_clear()
    images = {"dataset": "folder", "data_dir": image_folder, "image_size": 16, "clean_fractions": (0.2,)}
    config = StudyConfig.of(attack=attack, model="own", **images)
    display = Display(Console(file=io.StringIO()))
    preparation = Preparation(config, cache, display)
    scenario = preparation.load_scenario()
    with pytest.raises(ConfigError, match=sentence.replace("?", r"\?")):
        require_models(config.victim, scenario)
    monkeypatch.setitem(models.MODELS, "own", Own)
    models.distillation_layers.cache_clear()
    sound = config.changed(attack="badnets")
    require_models(sound.victim, Preparation(sound, cache, display).load_scenario())
    models.distillation_layers.cache_clear()


def test_teachers_are_kept_under_all_that_shapes_them(
    image_folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is fine-tuned: the cache alone is looked at."""
    made = []

    def run_tasks(task, wanted, *, on_done, **options) -> None:
        made.extend(wanted)
        for index, _which in enumerate(wanted):
            on_done(index, {"weight": np.zeros(3, np.float32)})

    monkeypatch.setattr("study.engine.tasks.run_tasks", run_tasks)
    images = {"dataset": "folder", "data_dir": image_folder, "image_size": 16, "clean_fractions": (0.2,)}
    config = StudyConfig.of(attack="badnets", model="wrn-10-1", **images)
    display = Display(Console(file=io.StringIO()))
    preparation = Preparation(config, cache, display)
    scenario = preparation.load_scenario()
    victim = Victim(copy_state(models.make("wrn-10-1", 4, generator(0))), Scores(1.0, 1.0, 1.0, 1.0, 0.0), 0.0)
    workload = make_workload(config, scenario, victim, scenario.validation)

    def teachers(workload=workload, images="images", wanted=(0, 0.2)):
        made.clear()
        with_teachers({0: workload, 1: workload}, [wanted], images, Preparation(config, tmp_path, display))
        return len(made)

    assert teachers() == 1
    assert teachers() == 0
    other = as_arrays(copy_state(models.make("wrn-10-1", 4, generator(1))))
    assert teachers(replace(workload, victim=other)) == 1
    assert teachers(replace(workload, model="wrn-10-2")) == 1
    assert teachers(replace(workload, flip=not workload.flip)) == 1
    other = "float32" if workload.precision == "bfloat16" else "bfloat16"
    assert teachers(replace(workload, precision=other)) == 1
    assert teachers(replace(workload, seed=1)) == 1
    assert teachers(images="others") == 1
    assert teachers(wanted=(1, 0.2)) == 1
    assert teachers(wanted=(0, 0.1)) == 1
    monkeypatch.setattr("study.stages.teachers.TEACHER", replace(TEACHER, lr=0.05))
    assert teachers() == 1
    monkeypatch.undo()
    monkeypatch.setattr("study.engine.tasks.run_tasks", run_tasks)
    assert teachers() == 0
    monkeypatch.setattr("study.stages.teachers.TEACHER_VERSION", TEACHER_VERSION + 1)
    assert teachers() == 1


def test_reflections_are_selected_once_and_shown(
    image_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = StudyConfig.of(
        attack="refool",
        attack_args=("rounds=2", "round_epochs=1", "selected=5"),
        dataset="folder",
        data_dir=image_folder,
        image_size=16,
        model="wrn-10-1",
        clean_fractions=(0.2,),
    )
    shown = io.StringIO()
    display = Display(Console(file=shown))
    with pytest.raises(DataError, match=r"of at least 400; there are \d+: give more images, or leave rounds at 0"):
        Preparation(config, cache, display).load_scenario()
    monkeypatch.setattr("nad.reflection_selection.JUDGES", 20)
    scenario = Preparation(config, cache, display).load_scenario()
    ready = Preparation(config, cache, display).prepare_attack(scenario, RECIPE)
    assert "reflections: 2/2 epochs" in shown.getvalue()
    assert ready.attack.crafted.pixels.shape == (5, 3, 64, 64)
    assert identity(config, ready, RECIPE) == identity(config, scenario, RECIPE)
    monkeypatch.setattr("nad.reflection_selection.Training", lambda *arguments: pytest.fail("it is in the cache"))
    assert Preparation(config, cache, display).prepare_attack(scenario, RECIPE).attack == ready.attack
