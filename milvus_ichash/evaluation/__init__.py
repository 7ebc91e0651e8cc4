"""Evaluation: metrics, retrievers that rank a database, and the functions that measure these rankings."""
