import pytest
import torch

from nad import models
from nad.errors import CheckpointError, ConfigError
from nad.models.taps import tap, tap_input
from nad.models.wide_resnet import WideResNet
from nad.seeds import generator


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_maps_images_to_logits_and_has_usable_layers(name):
    model = models.make(name, classes=7, generator=generator(0)).eval()
    with tap(model, model.distillation_layers) as maps, torch.inference_mode():
        logits = model(torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()
    sizes = [maps[layer].shape[-1] for layer in model.distillation_layers]
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) > 1


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_names_its_classifier(name):
    model = models.make(name, classes=7, generator=generator(0)).eval()
    classifier = model.get_submodule(model.classifier)
    with tap_input(model, model.classifier) as features, torch.no_grad():
        logits = model(torch.rand(2, 3, 32, 32))
        again = torch.nn.functional.linear(features[model.classifier], classifier.weight, classifier.bias)
    assert torch.equal(logits, again)
    assert not classifier._forward_pre_hooks


def test_wrn_16_1_has_the_size_of_the_papers_model():
    # 82 tensors, as the authors' checkpoints have; the parameters are those of Zagoruyko & Komodakis' table.
    model = models.make("wrn-16-1", classes=10)
    assert len(model.state_dict()) == 82
    assert sum(parameter.numel() for parameter in model.parameters()) == 175_066


def test_weights_follow_the_generator_and_leave_the_global_one_alone():
    before = torch.random.get_rng_state()
    first, second, other = (models.make("wrn-10-1", 4, generator(seed)).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_tap_reads_signed_outputs_and_leaves_no_hook():
    model = models.make("wrn-10-1", 4, generator(0)).eval()
    with tap(model, ("group2",)) as maps:
        model(torch.rand(2, 3, 16, 16))
    assert maps["group2"].shape == (2, 32, 8, 8)
    assert maps["group2"].min() < 0
    maps.clear()
    model(torch.rand(2, 3, 16, 16))
    assert maps == {}


def test_hooks_go_when_the_block_raises():
    model = models.make("wrn-10-1", 4, generator(0))
    with pytest.raises(RuntimeError), tap(model, ("group1",)):
        raise RuntimeError
    assert not model.group1._forward_hooks


def test_unknown_layer_and_model_are_named_with_a_suggestion():
    model = models.make("wrn-10-1", 4)
    with pytest.raises(ConfigError, match="unknown layer 'grup3'; did you mean 'group3'"), tap(model, ("grup3",)):
        pass
    with pytest.raises(ConfigError, match="unknown model 'wrn-16-3'; did you mean 'wrn-16-"):
        models.make("wrn-16-3", 4)


def test_impossible_depth_is_refused():
    with pytest.raises(ConfigError, match="6n \\+ 4"):
        WideResNet(18, 1, 10)


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("classes", [2, 10, 64])
def test_weights_are_recognised_by_their_forms(name, classes):
    assert models.recognise(models.make(name, classes).state_dict()) == (name, classes)


def test_other_weights_are_not_recognised():
    state = models.make("wrn-10-1", 10).state_dict()
    for other in (
        {},
        {"weight": torch.zeros(3)},
        {**state, "more": torch.zeros(1)},
        {**state, "fc.bias": torch.zeros(9)},
        {**state, "fc.weight": torch.zeros(10**9, 0)},
        {**state, "conv1.weight": state["conv1.weight"].half()},
    ):
        with pytest.raises(CheckpointError, match="not those of a model that is known: wrn-10-1"):
            models.recognise(other)
