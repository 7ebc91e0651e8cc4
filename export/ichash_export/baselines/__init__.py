"""Baselines: what a user would pick instead of a trained method, to compare the methods with."""
