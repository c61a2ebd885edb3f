"""Pre-activation residual networks (He et al. 2016, Identity Mappings) with the usual stem for small images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nad.models.base import DistillableModel, stack

WIDTHS = (64, 128, 256, 512)


class PreActBlock(nn.Module):
    """Two 3x3 convolutions, each behind batch norm and ReLU; a 1x1 convolution as shortcut between shapes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        # a Sequential of one gives weights the names of public checkpoints
        self.shortcut = (
            None
            if inputs == outputs and stride == 1
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False))
        )

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(active))))
        total: Tensor = out + (x if self.shortcut is None else self.shortcut(active))
        return total


class PreActResNet(DistillableModel):
    """Images (batch, 3, height, width) in [0, 1] to logits (batch, classes).

    The stem is a 3x3 convolution without pooling; for images of 32 pixels the maps are 32, 16, 8 and 4 pixels wide, and
    signed. Nothing normalises the last one before the global mean, as in the implementations of published checkpoints
    (He et al. have a batch norm and a ReLU there).
    """

    distillation_layers = ("layer1", "layer2", "layer3", "layer4")
    classifier = "linear"

    def __init__(self, blocks: tuple[int, int, int, int], classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.layer1 = stack(PreActBlock, blocks[0], WIDTHS[0], WIDTHS[0], stride=1)
        self.layer2 = stack(PreActBlock, blocks[1], WIDTHS[0], WIDTHS[1], stride=2)
        self.layer3 = stack(PreActBlock, blocks[2], WIDTHS[1], WIDTHS[2], stride=2)
        self.layer4 = stack(PreActBlock, blocks[3], WIDTHS[2], WIDTHS[3], stride=2)
        self.linear = nn.Linear(WIDTHS[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits
