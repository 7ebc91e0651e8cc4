"""Hostile files for every reader: valid files that are changed at random, read in a process of their own."""
