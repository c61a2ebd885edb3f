"""Where a model is, and where somebody wants it."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn

from nad.errors import ConfigError


def device_of(model: nn.Module) -> torch.device:
    """Of its first parameter, or buffer; the processor for a model that has neither."""
    held = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if held is None else held.device


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left: on the processor torch has no type for
    it."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def usable(asked: torch.device | str) -> torch.device:
    """The device of this name.

    Raises: ConfigError for a name that is none, and for a device that this machine, or this build of torch, lacks.
    """
    try:
        device = torch.device(asked)
        torch.zeros((), device=device).item()
    except Exception as error:  # a RuntimeError, an AssertionError, or whatever a driver makes of it
        raise ConfigError(
            f"the device {str(asked)!r} cannot be used here; give 'cpu', or a GPU that torch finds, such as 'cuda'"
        ) from error
    return device
