"""Devices of models, and out-of-memory errors."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn

from nad.errors import ConfigError


def device_of(model: nn.Module) -> torch.device:
    """Device of its first parameter or buffer; the CPU for a model without either."""
    held = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if held is None else held.device


def out_of_memory(error: BaseException) -> bool:
    """Recognise a lack of memory; on the CPU torch has no type for it."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def usable(asked: torch.device | str) -> torch.device:
    """The device of this name.

    Raises: ConfigError for an unknown name, or a device missing on this machine or in this build of torch.
    """
    try:
        device = torch.device(asked)
        torch.zeros((), device=device).item()
    except Exception as error:  # a RuntimeError, an AssertionError, or anything from a driver
        raise ConfigError(
            f"the device {str(asked)!r} cannot be used here; give 'cpu', or a GPU that torch finds, such as 'cuda'"
        ) from error
    return device
