"""Figures of others, ASR and ACC in percent, each checked in its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Published(NamedTuple):
    """One source's figures for an attack on CIFAR-10, each (ASR, ACC)."""

    source: str
    victim: tuple[float, float]
    fine_tuning: tuple[float, float]
    nad: tuple[float, float]


_BENCH = "BackdoorBench's leaderboard, PreAct-ResNet18, a tenth poisoned"

PUBLISHED: Mapping[str, tuple[Published, ...]] = {
    "badnets": (
        Published(
            "NAD authors' README, WRN-16-1; ACC without the target class", (100.0, 85.65), (18.13, 82.32), (3.57, 82.12)
        ),
        Published(_BENCH, (95.03, 91.32), (1.48, 89.96), (2.14, 89.87)),
    ),
    "blend": (Published(_BENCH, (99.92, 93.47), (96.11, 92.78), (97.69, 92.17)),),
    "cl": (Published(_BENCH, (99.92, 84.59), (11.34, 90.83), (11.28, 90.54)),),
    "sig": (Published(_BENCH, (98.27, 84.48), (2.37, 90.80), (10.66, 90.02)),),
    "trojan": (Published(_BENCH, (100.0, 93.42), (5.99, 92.42), (3.73, 91.88)),),
}
"""By attack. Without the paper's own table: its figures could not be checked."""
