"""Run a command in a network of its own, where nothing can be reached from outside and nothing outside can be reached.

    python tests/support/closed_network.py COMMAND ...

Linux only: a network namespace with a loopback interface. Made as root, or by an unprivileged user in a user namespace
where the system allows that. Exit code 125: it could not be made.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys

CANNOT = 125
_LOOPBACK = "ip link set lo up && exec"


def prefix() -> list[str] | None:
    """Words before a command that run it in a closed network; None where this system does not make one."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        return None
    for words in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        if subprocess.run([*words, "sh", "-c", f"{_LOOPBACK} true"], capture_output=True).returncode == 0:
            return words
    return None


def become(command: list[str]) -> int:
    """Become the command, in a closed network; returns only where that cannot be."""
    words = prefix()
    if words is None:
        sys.stderr.write(
            "closed_network: no network namespace can be made here: unshare, ip and the right to use them are needed.\n"
        )
        return CANNOT
    return os.execvp(words[0], [*words, "sh", "-c", f"{_LOOPBACK} {shlex.join(command)}"])


if __name__ == "__main__":
    sys.exit(become(sys.argv[1:]))
