from __future__ import annotations

import pandas as pd

from benchmarks.overhead import overhead


def test_only_the_first_two_trials_count_as_starts_of_workers() -> None:
    """In any order of the table: a long overhead later on is a stall, not a start."""
    trials = pd.DataFrame(
        {
            "state": ["COMPLETE"] * 5 + ["FAIL"],
            "started": [f"2026-01-01T00:00:0{second}" for second in (4, 0, 1, 2, 3, 5)],
            "seconds": [40.0, 13.0, 12.5, 10.2, 10.1, 99.0],
            "compute_seconds": 10.0,
        }
    )
    assert overhead(trials) == {"trials": 5, "median": 2.5, "max": 30.0, "max_after_start": 30.0}
