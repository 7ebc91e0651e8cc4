"""Batches that go through a graph, made smaller where memory does not suffice for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

from milvus_ichash.errors import InputError
from milvus_ichash.runtime.onnxruntime_module import warn_once
from milvus_ichash.runtime.session import OutOfMemoryError

Part = TypeVar("Part")


class Batches:
    """Runs of a graph over many rows. An item gets the same bits in any batch, so the size of batches is free.

    Attributes:
        size: rows in a batch, as many as fitted so far.
        device: where the graph runs.
    """

    def __init__(self, size: int, device: Literal["cpu", "cuda"]) -> None:
        self.size = size
        self.device = device

    def run(self, rows: int, run: Callable[[int, int], Part]) -> list[Part]:
        """Call `run(start, stop)` for batch after batch, with half as many rows from where memory did not suffice.

        Raises:
            OutOfMemoryError: it does not suffice for a single row.
        """
        parts: list[Part] = []
        start = 0
        while start < rows:
            stop = min(start + self.size, rows)
            try:
                parts.append(run(start, stop))
            except OutOfMemoryError as error:
                self.size = self._half(stop - start, error)
            else:
                start = stop
        return parts

    def _half(self, rows: int, error: InputError) -> int:
        memory = "the GPU's memory" if self.device == "cuda" else "the memory"
        if rows == 1:
            cure = "see with nvidia-smi who uses it, or take --device cpu" if self.device == "cuda" else "free some"
            raise OutOfMemoryError(f"{memory} does not suffice for a single row: {cure}.") from error
        warn_once(f"{memory} does not suffice for batches of {rows} rows: going on with {rows // 2}.")
        return rows // 2
