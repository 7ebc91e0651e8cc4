"""Text from data, files and servers, as it may stand on a terminal: what a terminal would obey is shown, not obeyed."""

from __future__ import annotations

import re

_UNSEEN = (
    r"\x00-\x1f\x7f-\x9f"  # control characters of ASCII and of Latin 1: escape sequences begin with one of them
    r"\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # no width, direction, new lines
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"  # no width, beyond the first plane
    r"\ud800-\udfff"  # halves of characters; Python reads bytes that are not UTF-8 as these
)
_SEEN_BESIDE = rf"[^\x00-\x7f{_UNSEEN}]"
# Persian is written with U+200C, and many emoji with U+200D, between characters that are not ASCII: these stay.
_ESCAPED = re.compile(f"(?<={_SEEN_BESIDE})[\u200c\u200d](?={_SEEN_BESIDE})|([{_UNSEEN}])")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str) -> str:
    r"""Return the text with control characters, and others that cannot be seen, as escapes: `\n`, `\x1b`, `\u202e`.

    These are the control characters (new lines among them), characters without a width, those that change the
    direction of writing, separators of lines, and bytes that are not UTF-8 (`\xff`). A joiner that belongs to an
    emoji or to a word stays.
    """
    return _ESCAPED.sub(lambda found: _escape(found[1]) if found[1] else found[0], text)


def is_utf8(text: str) -> bool:
    """Return whether this can be written as UTF-8; names of files, and other words of the system, may be any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable_json(document: str) -> str:
    """Return a JSON document with the same characters as escapes of JSON: it stays the same document.

    New lines between its parts stay as they are; inside strings JSON has none.
    """
    return _ESCAPED.sub(lambda found: _in_json(found[1]) if found[1] else found[0], document)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return _SHORT.get(character) or (f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}")


def _in_json(character: str) -> str:
    if character in "\n\r\t":
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
