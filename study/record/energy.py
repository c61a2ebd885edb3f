"""Energy of a study's trials and confirmation over all its runs, from the kernel's counters."""

from __future__ import annotations

from pathlib import Path

import optuna

COUNTERS = Path("/sys/class/powercap")
"""One folder per processor package on Linux, Intel's and AMD's alike; most systems let only root read them. Some of
Intel's have one for the whole machine, too, named psys."""
_ATTRIBUTE = "joules"
_JOULES_PER_KWH = 3.6e6


class EnergyMeter:
    """Adds this run's energy of the processors, other programs included, to earlier runs'.

    Counts from the opening of the record: without the victim's training, memory, GPUs and other machines. One run
    without readable counters leaves the study's energy unknown.
    """

    def __init__(self, study: optuna.Study, counters: Path = COUNTERS) -> None:
        self._study = study
        self._zones = _zones(counters)
        self._last = self._counts()
        known = study.user_attrs.get(_ATTRIBUTE, 0.0)
        self._joules = None if known is None or self._last is None else float(known)

    def read(self) -> float | None:
        """kWh so far, recorded, or None.

        A full counter starts again; at most one such wrap between two calls is noticed. The study calls this after each
        trial and each run of the confirmation.
        """
        counts = self._counts()
        if self._joules is not None and self._last is not None and counts is not None:
            used = ((now - before) % span for (now, span), (before, _) in zip(counts, self._last, strict=True))
            self._joules += sum(used) / 1e6
        else:
            self._joules = None
        self._last = counts
        self._study.set_user_attr(_ATTRIBUTE, self._joules)
        return None if self._joules is None else round(self._joules / _JOULES_PER_KWH, 6)

    def _counts(self) -> list[tuple[int, int]] | None:
        """Each zone's counter and its range, in microjoules; None if unreadable."""
        try:
            found = [(_number(one / "energy_uj"), _number(one / "max_energy_range_uj") + 1) for one in self._zones]
        except (OSError, ValueError):
            return None
        return found or None


def _zones(counters: Path) -> list[Path]:
    """The folders to add up: the packages', else the whole machine's."""
    found = sorted(counters.glob("intel-rapl:[0-9]"))
    return [zone for zone in found if _name(zone).startswith("package-")] or found


def _name(zone: Path) -> str:
    """The kernel's name of a zone, or empty."""
    try:
        return (zone / "name").read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""


def _number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))
