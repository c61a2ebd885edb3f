"""Progress, events, logs and TensorBoard of a running study."""
