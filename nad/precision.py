"""Mixed precision: bfloat16 for torch's safe operations, single precision for the rest."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether the device has bfloat16 arithmetic; others emulate it, slower than single precision."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Context for a forward pass and its loss."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def widened(values: Tensor) -> Tensor:
    """bfloat16 values in single precision, others unchanged; autocast itself does this for a cross-entropy."""
    return values.float() if values.dtype is torch.bfloat16 else values
