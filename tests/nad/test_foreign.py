"""Models from other people's files: the same logits as where they come from; and what bad files get."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from released_formats import CIFAR, Explosive, attack_result, nad_names, nad_release, save_poisoned
from safetensors.torch import save_file
from torch import nn

from nad import models
from nad.checkpoints import Checkpoint, copy_state, save, state_digest
from nad.errors import CheckpointError
from nad.foreign import FORMATS, load_foreign
from nad.models.normalisation import Normalisation
from nad.seeds import generator

PIXELS = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def trained(name="wrn-10-1", classes=4):
    """A model whose batch norms have seen something, so that a lost statistic shows."""
    model = models.make(name, classes, generator(1))
    with torch.no_grad():
        model.train()(PIXELS * 2 - 0.3)
    return model.eval()


def logits(model, pixels=PIXELS):
    with torch.inference_mode():
        return model.eval()(pixels)


def normalised(pixels, mean=CIFAR[0], std=CIFAR[1]):
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def refused(path, **options):
    """The sentence with which a file is refused."""
    with pytest.raises(CheckpointError) as caught:
        load_foreign(path, **options)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("new", [True, False], ids=["zip", "as before torch 1.6"])
@pytest.mark.parametrize("name", [name for name in models.MODELS if name.startswith("wrn")])
def test_released_nad_model_gives_its_own_logits(name, new, tmp_path):
    model = trained(name)
    path = tmp_path / "WRN-16-1-S-model_best.pth.tar"
    torch.save(nad_release(model), path, _use_new_zipfile_serialization=new)
    found = load_foreign(path)
    assert (found.format, found.name, found.classes, found.normalisation) == ("nad-release", name, 4, None)
    assert torch.equal(logits(found.network()), logits(model))


def test_released_wrn_16_1_has_82_keys_under_the_published_names():
    names = nad_names(models.make("wrn-16-1", 10))
    assert len(names) == 82
    assert {"conv1.weight", "block1.layer.0.bn1.weight", "block2.layer.0.convShortcut.weight", "bn1.bias"} <= set(names)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        *((name, "module.") for name in ("wrn-10-1", "wrn-40-2", "preact-resnet-18")),
        *(("wrn-10-1", prefix) for prefix in ("", "_orig_mod.", "module._orig_mod.")),
    ],
)
def test_backdoorbench_model_gives_the_logits_of_normalised_pixels(name, prefix, tmp_path):
    model = trained(name)
    state = {f"{prefix}{key}": value for key, value in model.state_dict().items()}
    torch.save(attack_result(model, 4, model=state), tmp_path / "attack_result.pt")
    found = load_foreign(tmp_path / "attack_result.pt")
    assert (found.format, found.name, found.classes) == ("backdoorbench", name, 4)
    assert found.normalisation == Normalisation(*CIFAR)
    assert torch.equal(logits(found.network()), logits(model, normalised(PIXELS)))
    assert not torch.equal(logits(found.network()), logits(model))


@pytest.mark.parametrize("classes", [10, 43])
def test_backdoorbench_preact_resnet_18_is_recognised_under_its_published_names(classes, tmp_path):
    state = {}

    def norm(name, width):
        state.update(
            {f"{name}.{part}": torch.zeros(width) for part in ("weight", "bias", "running_mean", "running_var")}
        )
        state[f"{name}.num_batches_tracked"] = torch.tensor(0)

    state["conv1.weight"], before = torch.zeros(64, 3, 3, 3), 64
    for layer, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            name = f"layer{layer}.{block}"
            norm(f"{name}.bn1", before)
            state[f"{name}.conv1.weight"] = torch.zeros(width, before, 3, 3)
            norm(f"{name}.bn2", width)
            state[f"{name}.conv2.weight"] = torch.zeros(width, width, 3, 3)
            if before != width:
                state[f"{name}.shortcut.0.weight"] = torch.zeros(width, before, 1, 1)
            before = width
    state |= {"linear.weight": torch.zeros(classes, 512), "linear.bias": torch.zeros(classes)}
    record = attack_result(nn.Identity(), classes, model=state, clean_data="gtsrb" if classes == 43 else "cifar10")
    torch.save(record, tmp_path / "attack_result.pt")
    found = load_foreign(tmp_path / "attack_result.pt")
    assert (found.format, found.name, found.classes) == ("backdoorbench", "preact-resnet-18", classes)
    assert found.network().distillation_layers == ("layer1", "layer2", "layer3", "layer4")


@pytest.mark.parametrize(("dataset", "expected"), [("gtsrb", None), ("celeba", None), (None, None)])
def test_backdoorbench_data_sets_without_a_normalisation(dataset, expected, tmp_path):
    model = trained()
    torch.save(attack_result(model, 4, clean_data=dataset), tmp_path / "a.pt")
    found = load_foreign(tmp_path / "a.pt")
    assert found.normalisation is expected
    assert torch.equal(logits(found.network()), logits(model))
    assert any("names no data set" in remark for remark in found.remarks) == (dataset is None)


def test_normalisation_that_is_not_known_is_refused_by_the_name_of_its_data_set(tmp_path):
    torch.save(attack_result(trained(), 4, clean_data="mnist"), tmp_path / "a.pt")
    assert "data set 'mnist', whose normalisation is not known here; known: cifar10, " in refused(tmp_path / "a.pt")


def test_whole_backdoorbench_model_is_read_with_trust_alone(tmp_path):
    model = trained()
    torch.save(attack_result(model, 4, model=model), tmp_path / "a.pt")
    assert "asks for nad.models.wide_resnet.WideResNet" in refused(tmp_path / "a.pt")
    found = load_foreign(tmp_path / "a.pt", trust=True)
    assert torch.equal(logits(found.network()), logits(model, normalised(PIXELS)))


@pytest.mark.parametrize("write", ["torch", "safetensors", "half", "double", "parameters", "without counters"])
def test_plain_weights_give_their_own_logits(write, tmp_path):
    model, path = trained(), tmp_path / "weights"
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    if write == "safetensors":
        save_file(state, path)
    elif write == "half":
        model = model.half().float()
        torch.save(model.half().state_dict(), path)
        model = model.float()
    elif write == "double":
        torch.save({key: value.double() if value.is_floating_point() else value for key, value in state.items()}, path)
    elif write == "parameters":
        torch.save(
            {key: nn.Parameter(value, requires_grad=value.is_floating_point()) for key, value in state.items()}, path
        )
    elif write == "without counters":
        torch.save({key: value for key, value in state.items() if "num_batches" not in key}, path)
    else:
        torch.save(state, path)
    found = load_foreign(path, model="wrn-10-1")
    assert (found.format, found.name, found.classes, found.normalisation) == ("state-dict", "wrn-10-1", 4, None)
    assert torch.equal(logits(found.network()), logits(model))


def test_normalisation_of_the_user_s_stands_in_front(tmp_path):
    model = trained()
    torch.save(model.state_dict(), tmp_path / "a.pt")
    chosen = Normalisation((0.5, 0.5, 0.5), (0.25, 0.2, 0.1))
    found = load_foreign(tmp_path / "a.pt", normalisation=chosen)
    assert found.normalisation == chosen
    assert torch.equal(logits(found.network()), logits(model, normalised(PIXELS, chosen.mean, chosen.std)))
    torch.save(attack_result(model, 4), tmp_path / "b.pt")
    assert load_foreign(tmp_path / "b.pt", normalisation=chosen).normalisation == chosen


def test_what_this_tool_wrote_is_read_again_with_its_normalisation(tmp_path):
    model = trained()
    torch.save(attack_result(model, 4), tmp_path / "a.pt")
    first = load_foreign(tmp_path / "a.pt")
    save(tmp_path / "own", Checkpoint(copy_state(first.network()), {"facts": {}}))
    again = load_foreign(tmp_path / "own")
    assert again.format == "nad-study"
    assert again.normalisation is not None
    assert again.normalisation.mean == pytest.approx(CIFAR[0])
    assert state_digest(again.state) == state_digest(first.state)
    assert torch.equal(logits(again.network()), logits(first.network()))


def test_same_weights_have_the_same_digest_in_every_format(tmp_path):
    model = trained()
    torch.save(nad_release(model), tmp_path / "a")
    torch.save(model.state_dict(), tmp_path / "b")
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "c")
    torch.save(attack_result(model, 4, clean_data="gtsrb"), tmp_path / "d")
    assert {state_digest(load_foreign(tmp_path / name).state) for name in "abcd"} == {state_digest(copy_state(model))}


def test_every_format_is_tried_in_the_tests_above():
    assert set(FORMATS) == {"nad-study", "backdoorbench", "nad-release", "state-dict"}


# BackdoorBench's poisoned test images


@pytest.fixture
def poisoned():
    images = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=generator(0))
    return {index: (image, label) for index, image, label in zip((3, 11, 5, 40, 41, 79), images, (1, 2, 3, 1, 0, 3))}  # noqa: B905


def test_poisoned_test_images_beside_the_file_are_read_under_their_true_labels(tmp_path, poisoned):
    torch.save(attack_result(trained(), 4, poisoned=poisoned), tmp_path / "attack_result.pt")
    save_poisoned(tmp_path, poisoned)
    found = load_foreign(tmp_path / "attack_result.pt")
    assert found.remarks == ()
    assert found.poisoned_test.target == 0
    expected = [poisoned[index] for index in (3, 5, 11, 40, 79)]  # by index; 41 is of the target class
    assert found.poisoned_test.data.labels.tolist() == [label for _image, label in expected]
    assert torch.equal(found.poisoned_test.data.images, torch.stack([image for image, _label in expected]))


def test_poisoned_test_images_inside_the_file_need_trust(tmp_path, poisoned):
    record = attack_result(trained(), 4, poisoned=poisoned)
    pictures = {
        index: (Image.fromarray(image.permute(1, 2, 0).numpy()), 0, label) for index, (image, label) in poisoned.items()
    }
    record["bd_test"]["bd_data_container"]["data_dict"] = pictures
    torch.save(record, tmp_path / "attack_result.pt")
    assert "asks for PIL.Image.Image" in refused(tmp_path / "attack_result.pt")
    found = load_foreign(tmp_path / "attack_result.pt", trust=True)
    assert len(found.poisoned_test.data) == 5
    assert torch.equal(found.poisoned_test.data.images[0], poisoned[3][0])


def early(record):
    """As before its second version: images and the labels that the attacker wants, without the true ones."""
    record["bd_test"] = {"x": torch.zeros(6, 3, 16, 16), "y": torch.zeros(6)}


def two_targets(record):
    record["bd_test"]["bd_data_container"]["data_dict"][np.int64(3)]["other_info"] = [2, 1]


def own_class(record):
    for entry in record["bd_test"]["bd_data_container"]["data_dict"].values():
        entry["other_info"][1] = 0


def elsewhere(record):
    record["bd_test"]["bd_data_container"]["data_dict"][np.int64(3)]["path"] = "/etc/../../passwd"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (early, "lack the true labels"),
        (own_class, "all of them are of the target class"),
        (two_targets, "2 different target labels"),
        (elsewhere, "No such file"),
        (lambda record: record.update(bd_test=None), "the file has none"),
        (lambda record: record["bd_test"]["bd_data_container"].update(data_dict={}), "lists none"),
        (lambda record: record["bd_test"]["bd_data_container"].clear(), "data_dict"),
    ],
)
def test_poisoned_test_images_that_cannot_be_read_are_a_remark_and_no_refusal(tmp_path, poisoned, spoil, reason):
    record = attack_result(trained(), 4, poisoned=poisoned)
    spoil(record)
    torch.save(record, tmp_path / "a.pt")
    save_poisoned(tmp_path, poisoned)
    found = load_foreign(tmp_path / "a.pt")
    assert found.poisoned_test is None
    (remark,) = found.remarks
    assert "poisoned test images (bd_test) cannot be read" in remark
    assert reason in remark


# What bad files get


@pytest.mark.parametrize("place", ["entry", "weights", "bare pickle"])
def test_pickle_with_code_in_it_is_refused_and_not_run(place, tmp_path):
    touched, path = tmp_path / "touched", tmp_path / "model.pth.tar"
    record = nad_release(trained())
    if place == "entry":
        torch.save({**record, "note": Explosive(touched)}, path)
    elif place == "weights":
        torch.save({**record, "state_dict": Explosive(touched)}, path)
    else:
        path.write_bytes(pickle.dumps({"state_dict": Explosive(touched)}, protocol=2))
    sentence = refused(path)
    assert "asks for posix.mkdir" in sentence
    assert "runs whatever code is in the file" in sentence
    assert "--trust-checkpoint" in sentence
    assert not touched.exists()


def test_trusted_pickle_is_unpickled_in_full(tmp_path):
    model = trained()
    torch.save({**nad_release(model), "note": Explosive(tmp_path / "touched")}, tmp_path / "a.pt")
    found = load_foreign(tmp_path / "a.pt", trust=True)
    assert (tmp_path / "touched").exists()
    assert torch.equal(logits(found.network()), logits(model))


def test_trust_is_not_used_where_it_is_not_needed(tmp_path, monkeypatch):
    torch.save(nad_release(trained()), tmp_path / "a.pt")
    modes, load = [], torch.load
    monkeypatch.setattr(
        torch, "load", lambda *given, **options: (modes.append(options["weights_only"]), load(*given, **options))[1]
    )
    load_foreign(tmp_path / "a.pt", trust=True)
    assert modes == [True]


def broken_files(model):
    """Writers of files that cannot be read, by what they are."""

    def cut(path, **options):
        torch.save(model.state_dict(), path, **options)
        path.write_bytes(path.read_bytes()[:-300])

    def flipped(path):
        torch.save(model.state_dict(), path)
        content = bytearray(path.read_bytes())
        content[:400] = bytes(400)
        path.write_bytes(content)

    def torn(path):
        save_file({"a": torch.ones(99)}, path)
        path.write_bytes(path.read_bytes()[:-50])

    return {
        "nothing": lambda path: None,
        "a folder": lambda path: path.mkdir(),
        "empty": lambda path: path.write_bytes(b""),
        "text": lambda path: path.write_text("a model"),
        "an image": lambda path: Image.new("RGB", (8, 8)).save(path, format="PNG"),
        "truncated zip": cut,
        "truncated legacy": lambda path: cut(path, _use_new_zipfile_serialization=False),
        "corrupt": flipped,
        "torn safetensors": torn,
        "a plain pickle": lambda path: path.write_bytes(pickle.dumps({"state_dict": 1})),
        "an npz": lambda path: np.savez(path.open("wb"), a=np.zeros(3)),
    }


@pytest.mark.parametrize("kind", broken_files(None))
@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_files_that_cannot_be_read(kind, trust, tmp_path):
    path = tmp_path / "foreign"
    broken_files(trained())[kind](path)
    assert "cannot read the model file" in refused(path, trust=trust)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (3, "holds a int and no weights"),
        ([torch.ones(2)], "holds a list and no weights"),
        ({}, "holds a dict of 0 entries and no weights"),
        ({"epoch": 3, "loss": 0.5}, "holds a dict of 2 entries and no weights that a format knows; known: nad-study, "),
        ({"state_dict": {}}, "no weights that a format knows"),
        ({"model_name": "vgg", "model": None}, "holds no weights under 'model'"),
        ({"weight": torch.ones(2), "lr": 0.1}, "its entry 'lr' is a float and no tensor"),
        ({"weight": torch.ones(1).expand(10**12)}, "its weight 'weight' claims more values than the file holds"),
        ({"weight": torch.ones(9).to_sparse()}, "its weight 'weight' is not dense"),
    ],
)
def test_files_without_a_model(content, sentence, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    assert sentence in refused(tmp_path / "a.pt")


def test_keys_that_do_not_fit_are_told_with_the_nearest_model(tmp_path):
    state = dict(nad_names(trained("wrn-16-1", 10)))
    state.pop("block3.layer.1.conv2.weight")
    state["extra.weight"] = torch.ones(2)
    torch.save({"state_dict": state}, tmp_path / "a.pt")
    sentence = refused(tmp_path / "a.pt")
    assert "the nearest is wrn-16-1: 81 weights agree" in sentence
    assert "1 missing: group3.1.conv2.weight" in sentence
    assert "1 unknown to it: extra.weight" in sentence


def test_model_that_is_asked_for_and_is_not_there(tmp_path):
    torch.save(trained("wrn-10-2").state_dict(), tmp_path / "a.pt")
    sentence = refused(tmp_path / "a.pt", model="wrn-10-1")
    assert "weights are not wrn-10-1's: " in sentence
    assert "16x16x3x3 float32" in sentence


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.pop("normalise.std"),
        lambda state: state.update({"normalise.std": torch.zeros(3, 1, 1)}),
        lambda state: state.update({"normalise.mean": torch.zeros(1)}),
    ],
)
def test_damaged_normalisation_of_our_own_file(spoil, tmp_path):
    state = {**copy_state(trained()), **Normalisation(*CIFAR).weights()}
    spoil(state)
    save(tmp_path / "own", Checkpoint(state, {}))
    assert "its normalisation is damaged" in refused(tmp_path / "own")
