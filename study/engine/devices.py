"""Computing devices of this machine, for processes outside Ray."""

from __future__ import annotations

import torch

from nad.cores import cores
from nad.errors import ConfigError
from study.options.engine import EngineOptions


def driver_device() -> torch.device:
    """This machine's GPU, else its CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def require_devices(options: EngineOptions) -> None:
    """Raise ConfigError if trials run here and one asks for too much."""
    if options.address is not None:
        return
    if options.workers is None and options.cpus_per_trial > cores():
        raise ConfigError(
            f"--cpus-per-trial {options.cpus_per_trial} is more than the {cores()} CPUs of this process; give less, or"
            " --workers 1 to share them"
        )
    if options.gpus_per_trial > 0 and torch.cuda.device_count() == 0:
        raise ConfigError(
            f"--gpus-per-trial {options.gpus_per_trial:g}: torch finds no GPU on this machine; leave it out, or name a"
            " cluster with GPUs in --address"
        )
