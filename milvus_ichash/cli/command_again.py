"""The command that goes on with what this one began, for the messages about an interruption."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection

from milvus_ichash.addresses import marked, shortened


def command_again(*added: str, without: Collection[str] = ()) -> str:
    """Return this command as one line for a shell, with words added at its end, and without secrets.

    Args:
        added: options that make it go on, such as "--resume"; each is there once.
        without: options that would delete or double what it has done, such as "--recreate".
    """
    words = [word for word in sys.argv[1:] if word not in (*without, *added)]
    for i, word in enumerate(words):
        # "--uri ADDRESS" and "--uri=ADDRESS"
        name, is_one, value = word.partition("=")
        before = words[i - 1] if i else ""
        if "--token" in (before, name):
            words[i] = f"{name}=..." if is_one and name == "--token" else "..." if before == "--token" else word
        elif name == "--uri" and is_one:
            words[i] = f"{name}={marked(value)}"
        else:
            words[i] = marked(word) if before == "--uri" else shortened(word)
    return shlex.join(["milvus-ichash", *words, *added])
