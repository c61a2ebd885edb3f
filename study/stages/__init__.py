"""The stages of a run, in order: preparation, trials, baselines, confirmation, product, summary."""
