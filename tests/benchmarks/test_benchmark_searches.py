from __future__ import annotations

import numpy as np

from benchmarks.searches import summarise


def test_figures_are_means_over_seeds_and_the_first_trial_at_each_seeds_own_target() -> None:
    curves = [np.linspace(0.1, 0.6, 24), np.linspace(0.2, 0.4, 24)]
    found = summarise(curves, [curves[0][4], 0.5], 24)
    assert found["trials_to_target"] == [5, None]
    assert found["hypervolume"]["24"] == 0.5
    assert found["hypervolume"]["10"] == round(float(curves[0][9] + curves[1][9]) / 2, 4)


def test_study_that_lost_trials_counts_with_what_it_ended_with() -> None:
    assert summarise([np.array([0.1, 0.2, 0.3])], [0.2], 24)["hypervolume"] == {"10": 0.3, "20": 0.3, "24": 0.3}
