"""Grids of methods, ablations and baselines on the same data: trained, exported, measured, kept as JSON lines,
shown."""
