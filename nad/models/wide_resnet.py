"""Wide residual networks for small images (Zagoruyko & Komodakis 2016), the base model of the NAD paper."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nad.errors import ConfigError
from nad.models.base import DistillableModel, stack


class Block(nn.Module):
    """Two 3x3 convolutions, each behind batch norm and ReLU; a 1x1 convolution as shortcut between widths."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(active))))
        # between widths, the shortcut starts behind the first activation, as in the original network
        total: Tensor = out + (x if self.shortcut is None else self.shortcut(active))
        return total


class WideResNet(DistillableModel):
    """WRN-depth-widen: images (batch, 3, height, width) in [0, 1] to logits (batch, classes).

    The three groups end before the last batch norm and ReLU, with signed outputs; for images of 32 pixels their maps
    are 32, 16 and 8 pixels wide.
    Raises: ConfigError unless depth is 6n + 4.
    """

    distillation_layers = ("group1", "group2", "group3")

    def __init__(self, depth: int, widen: int, classes: int) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ConfigError(f"a wide residual network has a depth of 6n + 4 (10, 16, 22, ...), got {depth}")
        blocks = (depth - 4) // 6
        widths = (16, 16 * widen, 32 * widen, 64 * widen)
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.group1 = stack(Block, blocks, widths[0], widths[1], stride=1)
        self.group2 = stack(Block, blocks, widths[1], widths[2], stride=2)
        self.group3 = stack(Block, blocks, widths[2], widths[3], stride=2)
        self.bn = nn.BatchNorm2d(widths[3])
        self.fc = nn.Linear(widths[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.group3(self.group2(self.group1(self.conv1(x))))
        logits: Tensor = self.fc(F.relu(self.bn(x)).mean(dim=(2, 3)))
        return logits
