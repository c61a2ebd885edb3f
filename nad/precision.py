"""Mixed precision: bfloat16 where torch deems it safe, single precision elsewhere."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether the device has arithmetic for it; others imitate it, and are slower than in single precision."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context that a forward pass and its loss run in."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def widened(values: Tensor) -> Tensor:
    """What a network made in bfloat16, in single precision; of a cross-entropy autocast sees to it itself."""
    return values.float() if values.dtype is torch.bfloat16 else values
