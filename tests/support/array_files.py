"""Files of arrays as numpy, h5py and MATLAB write them: `save_x(path, **arrays)` adds the ending, returns the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Save = Callable[..., Path]


def save_npz(path: Path, **arrays: Any) -> Path:
    file = path.with_suffix(".npz")
    np.savez(file, **arrays)
    return file


def save_h5(path: Path, **arrays: Any) -> Path:
    """`path` may have an ending of its own."""
    import h5py

    name = path if path.suffix else path.with_suffix(".h5")
    with h5py.File(name, "w") as file:
        for key, values in arrays.items():
            file[key] = values
    return name


def save_v5(path: Path, **arrays: Any) -> Path:
    """As MATLAB before 7.3: one number per item is a column."""
    from scipy.io import savemat

    file = path.with_suffix(".mat")
    savemat(file, {name: _columns(x) for name, x in arrays.items()}, do_compression=True)
    return file


def save_v73(path: Path, **arrays: Any) -> Path:
    """As MATLAB 7.3: a header of 512 bytes before HDF5, axes reversed, the class as an attribute."""
    import h5py
    from scipy.sparse import issparse

    name = path.with_suffix(".mat")
    with h5py.File(name, "w", userblock_size=512) as file:
        for key, values in arrays.items():
            if issparse(values):
                columns, group = values.tocsc(), file.create_group(key)
                group.attrs["MATLAB_sparse"] = np.uint64(columns.shape[0])
                group["data"] = columns.data
                group["ir"], group["jc"] = columns.indices.astype(np.uint64), columns.indptr.astype(np.uint64)
            elif isinstance(values, str):
                file[key] = np.array([[ord(c)] for c in values], np.uint16)
                file[key].attrs["MATLAB_class"] = np.bytes_("char")
            else:
                file[key] = _columns(np.asarray(values)).T
                file[key].attrs["MATLAB_class"] = np.bytes_("double")
    with name.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(512, b" "))
    return name


def _columns(values: Any) -> Any:
    numbers = isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iufb"
    return values[:, None] if numbers else values
