"""The network of the model files in tests/data/models: two layers, so that a file has a few kB."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from nad.models.base import DistillableModel, stack

MODELS = Path(__file__).parents[1] / "data" / "models"


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class TinyNetwork(DistillableModel):
    """Tests put it into `nad.models.MODELS` as 'tiny'."""

    distillation_layers = ("group1", "group2")

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.group1 = stack(Block, 1, 3, 4, stride=1)
        self.group2 = stack(Block, 1, 4, 4, stride=2)
        self.fc = nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.group2(self.group1(x)).mean(dim=(2, 3)))
        return logits
