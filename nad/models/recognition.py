"""Which model some weights belong to, and if none, what is wrong with them: by names, shapes and types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from nad.models.normalisation import KEYS

Form = tuple[tuple[int, ...], torch.dtype]
Forms = Mapping[str, Form]

NAMED = 3
"""Weights that a sentence names of each kind that does not fit."""


class Fit(NamedTuple):
    """How weights compare with those of one model."""

    model: str
    classes: int
    missing: tuple[str, ...]
    """Names that the model has and the weights do not."""
    unknown: tuple[str, ...]
    """Names that the weights have and the model does not."""
    other: tuple[str, ...]
    """Names of both, of another shape or type; with both forms."""
    shared: int
    """Weights of the same name, shape and type."""

    @property
    def belongs(self) -> bool:
        """They are that model's, all of them and no others."""
        return self.classes >= 2 and not (self.missing or self.unknown or self.other)

    @property
    def likeness(self) -> float:
        """Share of all names, of either side, that agree in name, shape and type; in [0, 1]."""
        return self.shared / (self.shared + len(self.missing) + len(self.unknown) + len(self.other))

    def __str__(self) -> str:
        kinds = {"missing": self.missing, "unknown to it": self.unknown, "of another form": self.other}
        told = [f"{len(names)} {kind}: {_few(names)}" for kind, names in kinds.items() if names]
        return f"{self.shared} weights agree, {'; '.join(told)}"


def forms_of(state: Mapping[str, Tensor]) -> dict[str, Form]:
    """Name to shape and type, without the normalisation that weights may bring."""
    return {name: (tuple(value.shape), value.dtype) for name, value in state.items() if name not in KEYS}


def fit(given: Forms, model: str, forms: Callable[[int], Forms]) -> Fit:
    """Compare weights with those of a model.  forms: of the model with so many classes."""
    of_two, of_three = forms(2), forms(3)
    # Of vectors, such as a bias: their length is the number of classes and nothing else
    lengths = {
        given[name][0][0]
        for name, (shape, _type) in of_two.items()
        if len(shape) == 1 and of_three[name] != of_two[name] and name in given and len(given[name][0]) == 1
    }
    classes = lengths.pop() if len(lengths) == 1 else 2
    expected = forms(max(classes, 2))
    both = [name for name in expected if name in given]
    other = [name for name in both if given[name] != expected[name]]
    return Fit(
        model,
        classes,
        tuple(name for name in expected if name not in given),
        tuple(name for name in given if name not in expected),
        tuple(f"{name} {_form(given[name])} instead of {_form(expected[name])}" for name in other),
        len(both) - len(other),
    )


def _form(form: Form) -> str:
    shape, dtype = form
    return f"{'x'.join(map(str, shape)) or 'one'} {str(dtype).removeprefix('torch.')}"


def _few(names: tuple[str, ...]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
