"""The wire format of protobuf messages, as far as it takes to look into an ONNX file without the package `onnx`."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
"""Kinds of values."""


def fields_within(
    content: mmap.mmap, root: str, parts: Mapping[str, Mapping[int, str]]
) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield the fields of a message and of those within it: the kind of their message, then as `fields_of` gives them.

    Args:
        content: the message.
        root: its kind.
        parts: for each kind of message the numbers of those fields that are messages too and are looked into, with
            their kinds. Whatever else is passed over unread.

    Raises:
        ValueError: a message is damaged.
    """
    waiting = [(root, 0, len(content))]
    while waiting:
        message, start, end = waiting.pop()
        for number, kind, first, last in fields_of(content, start, end):
            yield message, number, kind, first, last
            if kind == BYTES and number in parts[message]:
                waiting.append((parts[message][number], first, last))


def fields_of(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the number, the kind, and where the value starts and ends, of each field of a protobuf message.

    Raises:
        ValueError: the message is damaged.
    """
    place = start
    while place < end:
        tag, place = varint_at(content, place, end)
        kind, first = tag & 7, place
        if kind == VARINT:
            _, last = varint_at(content, place, end)
        elif kind == BYTES:
            size, first = varint_at(content, place, end)
            last = first + size
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            last = first + (8 if kind == EIGHT_BYTES else 4)
        else:
            raise ValueError(f"a field of unknown kind at byte {place}")
        if last > end:
            raise ValueError(f"it is cut off at byte {end}")
        yield tag >> 3, kind, first, last
        place = last


def varint_at(content: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    """Return a number, and the place behind it.

    Raises:
        ValueError: the number is damaged.
    """
    if place < end and content[place] < 0x80:  # nearly always
        return content[place], place + 1
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            raise ValueError(f"it is cut off at byte {end}")
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError(f"a number of more than ten bytes at byte {place}")
