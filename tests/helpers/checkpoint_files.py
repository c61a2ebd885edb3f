"""A model to write in other people's formats, and checks for reading it back."""

import pytest
import torch

from nad import models
from nad.errors import CheckpointError
from nad.formats import load_foreign
from nad.seeds import generator

PIXELS = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def trained(name="wrn-10-1", classes=4):
    """A model with batch norm statistics from real batches: a lost one shows."""
    model = models.make(name, classes, generator(1))
    with torch.no_grad():
        model.train()(PIXELS * 2 - 0.3)
    return model.eval()


def logits(model, pixels=PIXELS):
    with torch.inference_mode():
        return model.eval()(pixels)


def refused(path, **options):
    """The refusal of a file."""
    with pytest.raises(CheckpointError) as caught:
        load_foreign(path, **options)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence
