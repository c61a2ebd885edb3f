"""Where a process that is no Ray worker computes."""

from __future__ import annotations

import torch


def driver_device() -> torch.device:
    """This machine's GPU where it has one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
