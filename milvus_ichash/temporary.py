"""Folders for the time of a run: one that a killed run left behind is removed by the next run that makes its like.

A folder belongs to a live run as long as somebody holds the lock on the file `.owner` in it. The system lets go of a
lock when its process ends, however that ends, and knows it from within other containers too, as process numbers would
not. Where a file system has no locks, folders of killed runs stay.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import IO

from milvus_ichash.errors import InputError

if sys.platform != "win32":
    import fcntl

KIND = "milvus-ichash"
_OWNER = ".owner"
_RANDOM_PART = 8
"""Characters that `tempfile` adds to a name."""


class TemporaryFolder:
    """A folder that is removed when it is closed; also a context manager, which gives its path.

    Attributes:
        path: the folder.
    """

    def __init__(self, kind: str = KIND, place: Path | None = None) -> None:
        """Make a folder, and remove those of the kind that killed runs left behind.

        Args:
            kind: begin of its name.
            place: the folder that it is made in; the system's for temporary files by default.
        """
        place = Path(tempfile.gettempdir()) if place is None else place
        for left in abandoned(kind, place):
            shutil.rmtree(left, ignore_errors=True)
        self.path = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=place))
        self._owner = _own(self.path)

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._owner is not None:
            self._owner.close()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def abandoned(kind: str, place: Path) -> Iterator[Path]:
    """Yield the folders of a kind whose runs were killed; each is held until the next one is asked for."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
            if not entry.name.startswith(f"{kind}-") or len(entry.name) != len(kind) + 1 + _RANDOM_PART:
                continue
            # Nobody else's, who could have put a link there.
            if not entry.is_dir(follow_symlinks=False) or entry.stat(follow_symlinks=False).st_uid != os.getuid():
                continue
            folder = Path(entry.path)
            try:
                owner = (folder / _OWNER).open("r+")  # not "a", which would make one
            except OSError:
                continue
            with owner:
                if _lock(owner) is _Lock.OURS:
                    yield folder


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder that is there against other runs that hold it, too; do nothing where folders cannot be locked.

    Raises:
        InputError: another run has it.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if _lock(descriptor) is _Lock.ANOTHERS:
            raise InputError(f"another run is writing into '{folder}': wait for its end, or take another folder.")
        yield
    finally:
        os.close(descriptor)


def _own(folder: Path) -> IO[str] | None:
    """Become the owner of a folder; return None where there are no locks."""
    if sys.platform == "win32":
        return None
    # Under its name it is locked from the first moment.
    unnamed = folder / f"{_OWNER}.new"
    owner = unnamed.open("a")
    if _lock(owner) is not _Lock.OURS:
        owner.close()
        return None
    unnamed.rename(folder / _OWNER)
    return owner


class _Lock(Enum):
    """Whose a lock is; NOBODYS where the file system has none."""

    OURS, ANOTHERS, NOBODYS = range(3)


def _lock(file: IO[str] | int) -> _Lock:
    """Try to take the lock on an open file or folder."""
    try:
        # Not `lockf`: its locks are the process's, so that looking at a folder of our own would let go of it.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _Lock.ANOTHERS
    except OSError:
        return _Lock.NOBODYS
    return _Lock.OURS
