"""Settings, presets, the training loop and its checkpoints."""
