"""Comparison of weights with the known models, by names, shapes and types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nad.models.normalisation import KEYS

Form = tuple[tuple[int, ...], torch.dtype]
Forms = Mapping[str, Form]

NAMED = 3
"""Number of weights to name in a sentence, of each kind of difference."""


class Fit(NamedTuple):
    """Comparison of weights with one model."""

    model: str
    classes: int
    missing: tuple[str, ...]
    """Names in the model alone."""
    unknown: tuple[str, ...]
    """Names in the weights alone."""
    other: tuple[str, ...]
    """Names in both, with another shape or type; with both forms."""
    shared: int
    """Number of weights with the same name, shape and type."""
    grey: str | None
    """The first layer's weight, if it takes one channel and nothing else differs."""

    @property
    def belongs(self) -> bool:
        """Whether the weights are exactly the model's."""
        return self.classes >= 2 and not (self.missing or self.unknown or self.other)

    @property
    def likeness(self) -> float:
        """Share of all names on either side with equal shape and type; in [0, 1]."""
        return self.shared / (self.shared + len(self.missing) + len(self.unknown) + len(self.other))

    def __str__(self) -> str:
        kinds = {"missing": self.missing, "unknown to it": self.unknown, "of another form": self.other}
        parts = [f"{len(names)} {kind}: {few(names)}" for kind, names in kinds.items() if names]
        return f"{self.shared} weights agree, {'; '.join(parts)}"


def forms_of(state: Mapping[str, Tensor]) -> dict[str, Form]:
    """Shape and type by name, without an additional normalisation."""
    return {name: (tuple(value.shape), value.dtype) for name, value in state.items() if name not in KEYS}


def fit(given: Forms, model: str, forms: Callable[[int], Forms]) -> Fit:
    """Compare weights with a model.  forms: of the model, by number of classes."""
    of_two, of_three = forms(2), forms(3)
    # vectors, such as a bias: their length is the number of classes alone
    lengths = {
        given[name][0][0]
        for name, (shape, _type) in of_two.items()
        if len(shape) == 1 and of_three[name] != of_two[name] and name in given and len(given[name][0]) == 1
    }
    classes = lengths.pop() if len(lengths) == 1 else 2
    expected = forms(max(classes, 2))
    both = [name for name in expected if name in given]
    other = [name for name in both if given[name] != expected[name]]
    missing = tuple(name for name in expected if name not in given)
    unknown = tuple(name for name in given if name not in expected)
    grey = [name for name in other if _is_grey(given[name][0], expected[name][0])]
    return Fit(
        model,
        classes,
        missing,
        unknown,
        tuple(f"{name} {_form(given[name])} instead of {_form(expected[name])}" for name in other),
        len(both) - len(other),
        grey[0] if grey == other and not (missing or unknown) and grey else None,
    )


def _is_grey(given: Sequence[int], expected: Sequence[int]) -> bool:
    """Whether a convolution takes images of one channel instead of three."""
    return len(given) == 4 and (given[0], 1, *given[2:]) == given and (given[0], 3, *given[2:]) == expected


def _form(form: Form) -> str:
    shape, dtype = form
    return f"{'x'.join(map(str, shape)) or 'one'} {str(dtype).removeprefix('torch.')}"


def few(names: Sequence[str]) -> str:
    """The first names, and the number of the others."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
