"""Optuna behind Ray Tune's searcher interface: proposals, queued settings, pruning."""
