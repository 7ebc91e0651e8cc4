"""Changes to valid files, drawn by hypothesis: of their bytes, and of what stands in their headers."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

_NUMBERS = (0, 1, 2, 7, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1)
_HEAD = 600
_MOST_CHANGES = 4


@st.composite
def _places(draw: st.DrawFn, size: int) -> int:
    """A place in a file: near its head or its tail, where the headers are, or anywhere."""
    if size <= 1:
        return 0
    near = min(_HEAD, size - 1)
    return draw(
        st.one_of(
            st.integers(0, near), st.integers(0, near).map(lambda back: size - 1 - back), st.integers(0, size - 1)
        )
    )


@st.composite
def changed_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """A file with up to four changes: bytes flipped, cut out, put in, doubled, or a number of the header replaced."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, _MOST_CHANGES))):
        at = draw(_places(len(found)))
        how = draw(st.sampled_from(["flip", "number", "byte", "cut", "insert", "double", "end"]))
        if not found:
            break
        if how == "flip":
            found[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "byte":
            found[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x22]))
        elif how == "number":
            width = draw(st.sampled_from("BHIQ"))
            number = draw(st.sampled_from(_NUMBERS)) & (1 << 8 * struct.calcsize(width)) - 1
            order = draw(st.sampled_from("<>"))
            found[at : at + struct.calcsize(width)] = struct.pack(order + width, number)
        elif how == "cut":
            del found[at : at + draw(st.integers(1, 64))]
        elif how == "insert":
            found[at:at] = draw(st.binary(min_size=1, max_size=16))
        elif how == "double":
            found[at:at] = found[at : at + draw(st.integers(1, 256))]
        else:
            del found[at:]
    return bytes(found)


_TEXTS = st.sampled_from(
    ["", "\0", "..", "/etc/passwd", "(a+)+$", "\ud800", "é", "a" * 5000, "../encoder.onnx", "present", "[a"]
)
_PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 7, 8, 64, 1 << 31, 1 << 62, 10**30, 1e308, float("nan"), float("inf"), -0.5]),
    _TEXTS,
)
values = st.recursive(
    _PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=3), max_leaves=8
)
"""Values that JSON and TOML can hold, and that nobody expects."""


@st.composite
def changed_json(draw: st.DrawFn, content: bytes) -> bytes:
    """A JSON file with one to three values replaced, taken away or doubled; or its bytes changed."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.one_of(changed_bytes(content), st.sampled_from([b"", b"[" * 20_000, b'{"a":' * 9_000])))
    document = json.loads(content)
    for _ in range(draw(st.integers(1, 3))):
        document = draw(_changed_value(document))
    return json.dumps(document).encode()


@st.composite
def _changed_value(draw: st.DrawFn, value: Any) -> Any:
    deeper = isinstance(value, dict | list) and value and draw(st.integers(0, 9)) > 0
    if not deeper:
        return draw(values)
    if isinstance(value, list):
        at = draw(st.integers(0, len(value) - 1))
        how = draw(st.sampled_from(["deeper", "away", "twice"]))
        new = {"deeper": lambda: [draw(_changed_value(value[at]))], "away": list, "twice": lambda: [value[at]] * 2}
        return [*value[:at], *new[how](), *value[at + 1 :]]
    key = draw(st.sampled_from(sorted(value)))
    how = draw(st.sampled_from(["deeper", "deeper", "away", "renamed", "more"]))
    if how == "deeper":
        return {**value, key: draw(_changed_value(value[key]))}
    if how == "more":
        return {**value, draw(_TEXTS): draw(values)}
    left = {name: kept for name, kept in value.items() if name != key}
    return left if how == "away" else {**left, draw(_TEXTS): value[key]}


SHAPES = st.one_of(
    st.tuples(),
    st.tuples(st.sampled_from([0, 1, 8, 1 << 20, 1 << 40, (1 << 63) - 1, -1, 10**25])),
    st.tuples(st.sampled_from([0, 1, 8, 24, 1 << 40, -8]), st.sampled_from([0, 1, 6, 1 << 33, (1 << 62), -6])),
    st.tuples(st.just(2), st.just(3), st.sampled_from([0, 4, 1 << 60])),
)
_TYPES = st.sampled_from(
    ["<f4", ">f8", "<f2", "|u1", "|b1", "<i8", "<u8", "<U5", "|S3", "|O", "<c16", "<M8[s]", "|V8", "<U2147483647",
     "[('a', '<f4')]", "<f16", "garbage", "|S0"]
)  # fmt: skip


@st.composite
def changed_npz(draw: st.DrawFn, content: bytes) -> bytes:
    """An `.npz` whose zip is whole, and whose members are not: other headers, names, contents, members twice."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw(st.sampled_from(sorted(members)))
    how = draw(st.sampled_from(["header", "header", "bytes", "renamed", "twice", "long"]))
    if how == "header":
        members[name] = draw(_npy(members[name]))
    elif how == "bytes":
        members[name] = draw(changed_bytes(members[name]))
    elif how == "renamed":
        members[draw(st.sampled_from(["", ".npy", "../x.npy", "labels.npy", "present.npy", "I_tr.npy", "é\0.npy"]))] = (
            members.pop(name)
        )
    elif how == "long":
        members[name] += bytes(draw(st.sampled_from([1, 1 << 20, 64 << 20])))
    twice = {name: members[name]} if how == "twice" else {}
    return _zipped(members, twice, draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])))


@st.composite
def _npy(draw: st.DrawFn, content: bytes) -> bytes:
    """An array with another header, and the same data or more of it."""
    length = struct.unpack("<H", content[8:10])[0]
    descr, shape = draw(_TYPES), draw(SHAPES)
    quoted = descr if descr.startswith("[") else repr(descr)
    header = draw(
        st.sampled_from(
            [
                f"{{'descr': {quoted}, 'fortran_order': {draw(st.booleans())}, 'shape': {shape!r}, }}",
                f"{{'descr': {quoted}, 'fortran_order': 3, 'shape': {shape!r}}}",
                f"{{'descr': {quoted}, 'fortran_order': False, 'shape': {list(shape)!r}}}",
                "(" * 300,
                "{}",
                "9" * 9000,
                f"{{'shape': {shape!r}}}",
            ]
        )
    )
    padded = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded) & 0xFFFF) + padded + content[10 + length :]


def _zipped(members: Mapping[str, bytes], twice: Mapping[str, bytes], method: int) -> bytes:
    import warnings

    target = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w", method) as archive:
        warnings.simplefilter("ignore")  # of a name that comes twice
        for name, data in [*members.items(), *twice.items()]:
            archive.writestr(zipfile.ZipInfo(name) if name else zipfile.ZipInfo("x"), data, method)
    return target.getvalue()
