"""The training loop: configuration, steps, checkpoints, logs and metrics. It knows no method."""
