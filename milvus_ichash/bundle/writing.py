"""Writing a bundle: all of it or nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from milvus_ichash.bundle.file_names import MANIFEST
from milvus_ichash.bundle.files import sha256_of
from milvus_ichash.bundle.manifest import FORMAT, Manifest
from milvus_ichash.errors import InputError, check_can_be_folder, writing
from milvus_ichash.temporary import TemporaryFolder, abandoned

_NEW, _OLD = "new", "old"
"""Bundles in a temporary folder: the one that is being written, and the one that it replaces."""


def check_free(folder: str | Path, *, overwrite: bool = False) -> None:
    """Raise InputError where a bundle may not be written here; call it before hours of training."""
    target = Path(folder)
    check_can_be_folder(target.parent, "the folder of the bundle")
    is_bundle = (target / MANIFEST).is_file()
    if target.exists() and not (overwrite and is_bundle):
        hint = (
            "use --overwrite to replace it" if is_bundle else "it is not a bundle, so it is left alone; choose another"
        )
        raise InputError(f"'{target}' exists already: {hint}.")


def save(
    folder: str | Path, manifest: Manifest, files: Mapping[str, Path | bytes], *, overwrite: bool = False
) -> Manifest:
    """Write a bundle into a temporary folder that is renamed at the end, so that nobody ever sees half of it.

    Args:
        folder: where the bundle goes.
        manifest: its manifest; `format` and `files` in it are filled in here.
        files: content of each file by its name: bytes, or a path to copy from.
        overwrite: replace a bundle that is there already. Anything else in its place is never replaced.

    Returns:
        The manifest as written.

    Raises:
        InputError: where the place is taken, or cannot be written to.
    """
    target = Path(folder)
    with writing(f"bundle '{target}'"):
        _bring_back(target)
    check_free(target, overwrite=overwrite)
    with writing(f"bundle '{target}'"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFolder(f".{target.name}", target.parent) as temporary:
            written = _fill(temporary / _NEW, manifest, files)
            _replace(target, temporary)
    return written


def _fill(folder: Path, manifest: Manifest, files: Mapping[str, Path | bytes]) -> Manifest:
    folder.mkdir()
    for name, content in files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            shutil.copyfile(content, folder / name)
    digests = {name: sha256_of(folder / name) for name in sorted(files)}
    written = manifest.model_copy(update={"format": FORMAT, "files": digests})
    fields = {"format": FORMAT, "fingerprint": written.fingerprint, **json.loads(written.model_dump_json())}
    (folder / MANIFEST).write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", "utf-8", newline="\n")
    return written


def _replace(target: Path, temporary: Path) -> None:
    """Rename the new bundle in a temporary folder to `target`; one that was there goes with the temporary folder."""
    if target.exists():
        target.rename(temporary / _OLD)
    try:
        (temporary / _NEW).rename(target)
    except BaseException:
        if (temporary / _OLD).exists():
            (temporary / _OLD).rename(target)
        raise


def _bring_back(target: Path) -> None:
    """Bring a bundle back that was to be replaced by a run which was killed just then."""
    for left in abandoned(f".{target.name}", target.parent):
        if (left / _OLD).is_dir() and not target.exists():
            (left / _OLD).rename(target)
