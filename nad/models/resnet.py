"""Residual networks (He et al. 2015, Deep Residual Learning) with the usual stem for small images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nad.models.base import DistillableModel, stack

WIDTHS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm; ReLU between them and behind the sum with the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        # empty, the identity, between equal shapes
        self.shortcut = nn.Sequential()
        if inputs != outputs or stride != 1:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class ResNet(DistillableModel):
    """Images (batch, 3, height, width) in [0, 1] to logits (batch, classes).

    The stem is a 3x3 convolution without pooling; for images of 32 pixels the maps are 32, 16, 8 and 4 pixels wide, and
    not negative. Weights have the names of public checkpoints.
    """

    distillation_layers = ("layer1", "layer2", "layer3", "layer4")
    classifier = "linear"

    def __init__(self, blocks: tuple[int, int, int, int], classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = stack(BasicBlock, blocks[0], WIDTHS[0], WIDTHS[0], stride=1)
        self.layer2 = stack(BasicBlock, blocks[1], WIDTHS[0], WIDTHS[1], stride=2)
        self.layer3 = stack(BasicBlock, blocks[2], WIDTHS[1], WIDTHS[2], stride=2)
        self.layer4 = stack(BasicBlock, blocks[3], WIDTHS[2], WIDTHS[3], stride=2)
        self.linear = nn.Linear(WIDTHS[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits
