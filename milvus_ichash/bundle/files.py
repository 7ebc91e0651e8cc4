"""Files of a bundle are what the manifest says, byte for byte, and lie in its folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from milvus_ichash.errors import InputError

MOST_BYTES = 2**31
"""No ONNX file can be larger without external data."""


def check_file(path: Path, sha256: str, cure: str) -> None:
    """Raise InputError where a file is not there, or has another sha256; `cure` says what to do then."""
    try:
        if not path.is_file():
            raise InputError(f"'{path.parent}' lacks its file '{path.name}': {cure}.")
        found = sha256_of(path)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    if found != sha256:
        digests = f"sha256 {found[:12]}..., {sha256[:12]}... in the manifest"
        raise InputError(f"'{path}' is damaged or was changed ({digests}): {cure}.")


def check_place(path: Path) -> None:
    """Raise InputError where a file of a folder is a link out of it, or larger than a file of a bundle can be."""
    # Path.resolve raises where links go in a circle.
    folder, target = os.path.realpath(path.parent), os.path.realpath(path)
    if str(Path(target).parent) != folder:
        raise InputError(
            f"'{path}' is a link out of its folder, to '{target}': copy the bundle with what it links to (cp -rL)."
        )
    try:
        size = path.stat().st_size
    except OSError:
        return  # it is not there, or cannot be read: `check_file` says so
    if size > MOST_BYTES:
        raise InputError(f"'{path}' has {size:,} bytes: no file of a bundle can be larger than {MOST_BYTES:,}.")


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
