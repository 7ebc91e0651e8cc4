"""Whether this machine makes the codes that the exporting one made: by the golden vectors of a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from milvus_ichash.bundle.golden_vectors import read_golden_vectors
from milvus_ichash.errors import InputError
from milvus_ichash.runtime.encoder import HashEncoder


def compare_golden_codes(encoder: HashEncoder, bundle: Path) -> int | None:
    """Encode the golden vectors of a bundle, and compare the bits that are sure.

    Args:
        encoder: the open bundle, with whole codes.
        bundle: its folder.

    Returns:
        The number of bits that are as they must be, or None where the bundle has no golden vectors.

    Raises:
        InputError: some bits are not, or the golden vectors cannot be used.
    """
    golden = read_golden_vectors(bundle, encoder.manifest)
    if golden is None:
        return None
    wrong = 0
    for name, found in encoder.encode(**golden.arrays(encoder.manifest.dims)).items():
        wrong += int(np.bitwise_count(golden.differing(name, found)).sum())
    compared = golden.compared()
    if wrong:
        raise InputError(
            f"{wrong:,} of {compared:,} bits, made here on {encoder.device}, are not those that the bundle made where "
            "it was exported: codes of the two machines do not belong together. Try `--device cpu`, or another "
            "version of onnxruntime."
        )
    return compared
