"""Options of Ray, its workers, and the precision of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch

from nad.cores import cores
from nad.precision import Precision, computes_in_bfloat16
from study.options.durations import parse_duration
from study.options.helptext import documented

MOST_WORKERS = 4096


@documented
@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Cluster, workers, devices and precision."""

    address: str | None = None
    """HOST:PORT of a running Ray cluster, or auto for this machine's. Default: none, this machine alone."""
    wait_for_nodes: str | None = None
    """Longest wait, such as 10m, for a cluster with room for --workers trials, or for one; the study then starts with
    the room there is. Default: no wait; a cluster without room for one trial is refused."""
    workers: int | None = None
    """Trials at a time. Default: one for each core of the processor, or as many as the cluster holds at the start."""
    cpus_per_trial: int = 1
    """Threads of one trial."""
    gpus_per_trial: float = 0.0
    """GPU of one trial: 1, or a share of one, such as 0.25. Default: none, trials compute on the processor."""
    precision: str = "auto"
    """Arithmetic of the passes in training: float32, bfloat16, or auto: bfloat16 if the trials' GPUs, or this machine's
    processor, compute in it. Scores are always computed in float32."""

    @property
    def size(self) -> tuple[int, float]:
        """CPUs and GPUs of one trial."""
        return self.cpus_per_trial, self.gpus_per_trial

    @property
    def slots(self) -> int:
        """Trials at a time, at most: a cluster may hold fewer."""
        if self.address is not None:
            return self.workers or MOST_WORKERS
        return self.workers or max(1, cores() // self.cpus_per_trial)

    @property
    def cpus(self) -> int:
        """CPUs of an embedded Ray; more than this machine's only if --workers asks for them."""
        return cores() if self.workers is None else self.workers * self.cpus_per_trial

    @property
    def wait_seconds(self) -> float:
        """Longest wait for a node with room for a trial."""
        return 0.0 if self.wait_for_nodes is None else parse_duration(self.wait_for_nodes, "--wait-for-nodes")

    @property
    def used_precision(self) -> Precision:
        """The precision with auto resolved.

        Cluster nodes may have different CPUs, so auto is float32 there. GPUs of trials count as this machine's; without
        one here, as on a cluster's head, they count as able to compute in bfloat16.
        """
        if self.precision != "auto":
            return cast("Precision", self.precision)
        if self.gpus_per_trial > 0:
            able = not torch.cuda.is_available() or computes_in_bfloat16(torch.device("cuda"))
        else:
            able = self.address is None and computes_in_bfloat16(torch.device("cpu"))
        return "bfloat16" if able else "float32"
