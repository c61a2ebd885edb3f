"""The search: proposals of Optuna, trials by Ray Tune, points of earlier studies, pruning."""
