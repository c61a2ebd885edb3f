"""Reading a model's inner activations by the layer's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

from nad.errors import ConfigError, unknown_name


@contextmanager
def tap(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of named layers: `with tap(model, ("group3",)) as maps: logits = model(x)`.

    Each forward pass replaces the content of `maps`; the hooks end with the block. A layer before an in-place
    operation, such as ReLU(inplace=True), is read behind it.
    Raises: ConfigError for an unknown layer.
    """
    modules = dict(model.named_modules())
    for layer in layers:
        if layer not in modules:
            raise _unknown_layer(layer, modules)
    maps: dict[str, Tensor] = {}
    handles = [modules[layer].register_forward_hook(partial(_keep, maps, layer)) for layer in layers]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def _unknown_layer(layer: str, modules: Mapping[str, nn.Module]) -> ConfigError:
    """The error: suggests any layer, lists those of the same parent alone; deep networks have hundreds."""
    parent = layer
    while parent not in modules:
        parent = parent.rpartition(".")[0]
    below = [f"{parent}.{name}".removeprefix(".") for name, _ in modules[parent].named_children()]
    return unknown_name("layer", layer, below, suggested=modules)


def _keep(maps: dict[str, Tensor], layer: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
    maps[layer] = output


@contextmanager
def tap_input(model: nn.Module, layer: str) -> Iterator[dict[str, Tensor]]:
    """Collect the input of a layer, by its name: `with tap_input(model, "fc") as inputs: logits = model(x)`."""
    inputs: dict[str, Tensor] = {}
    handle = model.get_submodule(layer).register_forward_pre_hook(partial(_keep_input, inputs, layer))
    try:
        yield inputs
    finally:
        handle.remove()


def _keep_input(inputs: dict[str, Tensor], layer: str, _module: nn.Module, given: tuple[Tensor, ...]) -> None:
    inputs[layer] = given[0]
