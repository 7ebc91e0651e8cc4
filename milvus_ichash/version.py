"""The version of this package, in a file that imports nothing, so that every module may read it."""

__version__ = "0.1.0"
