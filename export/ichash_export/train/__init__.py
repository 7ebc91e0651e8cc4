"""Training: one run, its settings, its state on disk, and the model that comes out of it."""
