"""Reading a bundle: everything that may be wrong with one that somebody else made is one sentence."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from milvus_ichash.bundle.declared_sizes import check_declared_sizes
from milvus_ichash.bundle.external_data import check_self_contained
from milvus_ichash.bundle.file_names import MANIFEST
from milvus_ichash.bundle.files import check_file, check_place
from milvus_ichash.bundle.format_1 import upgraded
from milvus_ichash.bundle.json_file import read_json
from milvus_ichash.bundle.manifest import FORMAT, Manifest, problem_of
from milvus_ichash.codes import check_bits
from milvus_ichash.errors import InputError
from milvus_ichash.printable import printable

MANIFEST_BYTES = 4 << 20
MANIFEST_VALUES = 200_000
"""A manifest has less than a hundred, and the names of the classes."""
AGAIN = "export the bundle again"

_log = logging.getLogger(__name__)


def read_manifest(bundle: str | Path) -> Manifest:
    """Read the manifest of a bundle folder, of format 1 or 2.

    Fields that a newer version wrote are passed over, with a warning in the log, where they do not decide the codes.

    Raises:
        InputError: where the folder or its manifest is not there, is not JSON, is of a format not known here, or does
            not describe a bundle.
    """
    folder = Path(bundle)
    path = folder / MANIFEST
    if not path.is_file():
        what = "has no ichash.json" if folder.is_dir() else "is not a folder"
        raise InputError(f"'{folder}' {what}: a bundle is the folder that `milvus-ichash train` or `export` writes.")
    check_place(path)
    content = read_json(path, most_bytes=MANIFEST_BYTES, most_values=MANIFEST_VALUES)
    try:
        manifest, unknown = _parsed(content)
    except ValidationError as error:
        raise InputError(f"'{path}' does not describe a bundle: {problem_of(error)}; {AGAIN}.") from error
    except ValueError as error:
        raise InputError(f"'{path}' cannot be used: {error}; {AGAIN}.") from error
    check_bits(manifest.bits)
    for name in manifest.needed_files:
        if name not in manifest.files:
            raise InputError(f"'{path}' has no sha256 of {name}: {AGAIN}.")
    stated = content.get("fingerprint")
    if manifest.format > 1 and stated != manifest.fingerprint:
        raise InputError(
            f"'{path}' describes codes of fingerprint {manifest.fingerprint}, and says {_short(stated)}: it was "
            f"changed, or its codes depend on something that only a newer version knows{_listed(unknown)}."
        )
    if unknown:
        _warn_once(f"'{path}' was written by a newer version: what is not known here is passed over{_listed(unknown)}.")
    return manifest


def verify(bundle: str | Path) -> Manifest:
    """Read the manifest, compare every file with its sha256, and see that graphs keep their weights inside.

    Graphs that declare inputs of absurd sizes are refused too.

    Raises:
        InputError: names the file that is missing, leads out of the folder, whose content changed, or whose weights
            are elsewhere.
    """
    folder = Path(bundle)
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        check_place(folder / name)
        check_file(folder / name, expected, AGAIN)
    for name in manifest.graphs:
        check_self_contained(folder / name, f"export it with its weights inside, and {AGAIN}")
        check_declared_sizes(folder / name, AGAIN)
    return manifest


def _parsed(content: Any) -> tuple[Manifest, list[str]]:
    """Return the manifest, and the fields that are not known here (none is allowed in format 1)."""
    if not isinstance(content, dict):
        raise ValueError("it is no object with the fields of a manifest")
    given = content.get("format")
    if given not in (1, FORMAT):
        shown = str(given)[:20] if isinstance(given, int | str) else "unknown"
        raise ValueError(f"it is of bundle format {shown}, and this version reads formats 1 and {FORMAT}")
    if given == 1:
        return _strictly(upgraded(content)), []
    fields = {name: value for name, value in content.items() if name != "fingerprint"}
    try:
        return _strictly(fields), []
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        places = [each["loc"] for each in problems if each["type"] == "extra_forbidden"]
        if not places:
            raise
    for place in places:
        _take_out(fields, place)
    return _strictly(fields), [".".join(map(str, place)) for place in places]


def _strictly(fields: dict[str, Any]) -> Manifest:
    """Return the manifest; as JSON, since lists may stand for tuples there and nothing else for anything else."""
    return Manifest.model_validate_json(json.dumps(fields), strict=True)


def _take_out(fields: dict[str, Any], place: Sequence[int | str]) -> None:
    """Remove the field at this place, where pydantic has the kind of a step behind the modality's name."""
    keys = [*place[:2], *place[3:]] if place[0] == "raw" else place
    within: Any = fields
    for key in keys[:-1]:
        within = within[key]
    within.pop(keys[-1])


def _short(stated: Any) -> str:
    return stated[:20] if isinstance(stated, str) else "none"


def _listed(unknown: Sequence[str]) -> str:
    shown = ", ".join(printable(name[:60]) for name in unknown[:5])
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return f" ({shown}{more})" if unknown else ""


@lru_cache
def _warn_once(message: str) -> None:
    _log.warning(message)
