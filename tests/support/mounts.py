"""Commands in a mount namespace of their own, where folders can be of a size, or write-protected even for root."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest


def of_size(folder: Path, size: str) -> list[str]:
    """Words before a command that sees an empty file system of this size at a folder; skips where there is none."""
    return _before(f"mount -t tmpfs -o size={size} tmpfs {shlex.quote(str(folder))}", folder)


def write_protected(path: Path) -> list[str]:
    """Words before a command that sees a folder or a file write-protected, as root too; skips where that cannot be."""
    place = shlex.quote(str(path))
    return _before(f"mount --bind {place} {place} && mount -o remount,ro,bind {place}", path)


def _before(mount: str, path: Path) -> list[str]:
    assert path.exists()
    if shutil.which("unshare"):
        for words in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
            command = [*words, "sh", "-c", f'{mount} && exec "$@"', "sh"]
            if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
                return command
    pytest.skip("this system lets nobody mount here: it takes root, or user namespaces")
