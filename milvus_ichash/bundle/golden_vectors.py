"""Golden vectors: a few items with the codes that they must get, by which another machine can test itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from milvus_ichash.bundle.json_file import read_json
from milvus_ichash.bundle.manifest import Manifest, problem_of
from milvus_ichash.codes import Codes, pack
from milvus_ichash.errors import InputError
from milvus_ichash.strict_model import StrictModel

GOLDEN_VECTORS = "golden_vectors.json"
GOLDEN_BYTES = 16 << 20
GOLDEN_VALUES = 2_000_000
CLEAR = 1e-3
"""A bit whose relaxed value is nearer to zero than this is not compared: there the order of a sum decides."""

_Float32 = Annotated[float, Field(ge=-3.4e38, le=3.4e38)]
_Hex = Annotated[str, Field(pattern=r"\A([0-9a-f]{2})+\z")]


class GoldenVectors(StrictModel):
    """Items by number, and what is sure of their codes."""

    features: dict[str, tuple[tuple[_Float32, ...] | None, ...]]
    """Features of each item by modality; None where it lacks the modality."""
    codes: dict[str, tuple[_Hex, ...]]
    """Packed code of each item in hex, by the code's name."""
    clear: dict[str, tuple[_Hex, ...]]
    """Packed bits as well: 1 where the code's bit is the same on every machine."""

    @classmethod
    def of(
        cls,
        features: Mapping[str, npt.NDArray[np.float32]],
        present: npt.NDArray[np.bool_],
        relaxed: Mapping[str, npt.NDArray[np.float32]],
    ) -> GoldenVectors:
        """Return the golden vectors of N items.

        Args:
            features: float32 (N, D_m) by modality.
            present: bool (N, M), in the order of `features`.
            relaxed: relaxed codes, float32 (N, bits) by the code's name.
        """
        return cls(
            features={
                name: tuple(_numbers(row) if there else None for row, there in zip(x, present[:, i], strict=True))
                for i, (name, x) in enumerate(features.items())
            },
            codes={name: _hex(pack(u)) for name, u in relaxed.items()},
            clear={name: _hex(pack(np.abs(u) - np.float32(CLEAR))) for name, u in relaxed.items()},
        )

    def arrays(self, dims: Mapping[str, int]) -> dict[str, npt.NDArray[np.float32]]:
        """Return the features as float32 (N, D_m) by modality, D_m as in `dims`; rows of NaN are missing."""
        return {
            name: np.array([(np.nan,) * dims[name] if row is None else row for row in rows], np.float32)
            for name, rows in self.features.items()
        }

    def differing(self, code: str, found: Codes) -> Codes:
        """Return which bits of an item's code, uint8 (N, bits / 8), are not as they must be: packed as codes are."""
        return (found ^ _codes(self.codes[code])) & _codes(self.clear[code])

    def compared(self) -> int:
        """Return the number of bits that are compared."""
        return sum(int(np.bitwise_count(_codes(rows)).sum()) for rows in self.clear.values())


def read_golden_vectors(bundle: Path, manifest: Manifest) -> GoldenVectors | None:
    """Return the golden vectors of a bundle, or None where it has none.

    Raises:
        InputError: the file is no such thing, or does not fit the manifest.
    """
    if manifest.golden_vectors is None:
        return None
    path = bundle / manifest.golden_vectors
    content = read_json(path, most_bytes=GOLDEN_BYTES, most_values=GOLDEN_VALUES)
    try:
        golden = GoldenVectors.model_validate(content)
    except ValidationError as error:
        raise InputError(f"'{path}' holds no golden vectors: {problem_of(error)}; export the bundle again.") from error
    made = {code.name for code in manifest.codes}
    rows = {len(rows) for rows in (*golden.features.values(), *golden.codes.values(), *golden.clear.values())}
    digits = {len(row) for codes in (golden.codes, golden.clear) for rows in codes.values() for row in rows}
    sizes = {(name, len(row)) for name, column in golden.features.items() for row in column if row is not None}
    if (
        not sizes <= set(manifest.dims.items())
        or set(golden.features) != set(manifest.dims)
        or not set(golden.codes) == set(golden.clear) == made
        or len(rows) != 1
        or digits != {manifest.bits // 4}
    ):
        raise InputError(f"'{path}' does not fit its manifest in modalities, codes or their sizes: export it again.")
    return golden


def _numbers(row: npt.NDArray[np.float32]) -> tuple[float, ...]:
    # Through text, which is the shortest that gives the same float32 again.
    return tuple(float(str(x)) for x in row)


def _hex(codes: Codes) -> tuple[str, ...]:
    return tuple(row.tobytes().hex() for row in codes)


def _codes(rows: tuple[str, ...]) -> Codes:
    return np.array([np.frombuffer(bytes.fromhex(row), np.uint8) for row in rows])
