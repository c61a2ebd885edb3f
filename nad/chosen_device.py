"""The device that somebody asks for, where it is one and there is one."""

from __future__ import annotations

import torch

from nad.errors import ConfigError


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
