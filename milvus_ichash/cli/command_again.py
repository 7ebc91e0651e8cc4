"""The words of this command line as messages may repeat them, and the command that goes on after an interruption."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Iterable

from milvus_ichash.addresses import marked, shortened


def command_again(*added: str, without: Collection[str] = ()) -> str:
    """Return this command as one line for a shell, with words added at its end, and without secrets.

    Args:
        added: options that make it go on, such as "--resume"; each is there once.
        without: options that would delete or double what it has done, such as "--recreate".
    """
    words = without_secrets(word for word in sys.argv[1:] if word not in (*without, *added))
    return shlex.join(["milvus-ichash", *words, *added])


def without_secrets(words: Iterable[str]) -> list[str]:
    """Return the words of a command line with "..." in place of its token, and of what is secret in its addresses."""
    shown: list[str] = []
    before = ""
    for word in words:
        # "--uri ADDRESS" and "--uri=ADDRESS"
        name, is_one, value = word.partition("=")
        if before == "--token":
            shown.append("...")
        elif before == "--uri":
            shown.append(marked(word))
        elif is_one and name in ("--token", "--uri"):
            shown.append(f"{name}={'...' if name == '--token' else marked(value)}")
        else:
            shown.append(shortened(word))
        before = word
    return shown
