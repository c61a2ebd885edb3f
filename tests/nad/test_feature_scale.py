import pytest
import torch
from torch import Tensor, nn

from nad import models
from nad.errors import ConfigError
from nad.feature_scale import feature_rms
from nad.models.taps import tap

LAYERS = ("group1", "group2", "group3")


def images(count: int) -> Tensor:
    return torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    return models.make("wrn-10-1", 10, torch.Generator().manual_seed(1))


def test_rms_is_that_of_all_features_of_all_images_at_once() -> None:
    """More images than one pass takes, the last pass smaller than the others."""
    model, some = network(), images(131)
    with torch.no_grad(), tap(model.eval(), LAYERS) as features:
        model(some.float() / 255)
    expected = {layer: features[layer].double().pow(2).mean().sqrt().item() for layer in LAYERS}
    assert feature_rms(model.train(), some, LAYERS) == pytest.approx(expected, rel=1e-4)
    assert model.training


def test_rms_grows_with_the_features() -> None:
    model, some = network().eval(), images(8)
    before = feature_rms(model, some, ("group3",))["group3"]
    hook = model.get_submodule("group3").register_forward_hook(lambda _module, _inputs, output: 3 * output)
    assert feature_rms(model, some, ("group3",))["group3"] == pytest.approx(3 * before)
    hook.remove()


def test_statistics_of_batch_norm_stay() -> None:
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    feature_rms(model, images(8), LAYERS)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_dead_layer_is_refused(value: float) -> None:
    model = network()
    model.get_submodule("group2").register_forward_hook(lambda _module, _inputs, output: torch.full_like(output, value))
    with pytest.raises(ConfigError, match=r"layer 'group2' have the root mean square (0|nan); distil another layer"):
        feature_rms(model, images(8), LAYERS)
