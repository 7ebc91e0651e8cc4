"""The command that goes on with what this one began, for the messages about an interruption."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Collection


def command_again(*added: str, without: Collection[str] = ()) -> str:
    """Return this command as one line for a shell, with words added at its end, and without secrets.

    Args:
        added: options that make it go on, such as "--resume"; each is there once.
        without: options that would delete what it has done, such as "--recreate".
    """
    words = [word for word in sys.argv[1:] if word not in (*without, *added)]
    for i, word in enumerate(words):
        if word == "--token" and i + 1 < len(words):
            words[i + 1] = "..."
        words[i] = re.sub(r"^--token=.*", "--token=...", re.sub(r"://[^/]*@", "://...@", words[i]))
    return shlex.join(["milvus-ichash", *words, *added])
