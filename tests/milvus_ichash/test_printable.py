"""Characters that a terminal obeys, or does not show, become escapes; all others stay."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from milvus_ichash.printable import printable, printable_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, größer, 中文 \\ [red]", "plain, größer, 中文 \\ [red]"),
        ("\x1b]52;c;cm0=\x07", r"\x1b]52;c;cm0=\x07"),
        ("\x9b31m\x85\x7f\x00", r"\x9b31m\x85\x7f\x00"),
        ("one\ntwo\r\tthree", r"one\ntwo\r\tthree"),
        ("gpj.\u202eexe\u2066", r"gpj.\u202eexe\u2066"),
        ("a\u200bb\ufeff\u2028", r"a\u200bb\ufeff\u2028"),
        ("tag\U000e0041", r"tag\U000e0041"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_cannot_be_seen_is_an_escape(text, shown):
    assert printable(text) == shown


def test_every_control_format_and_separating_character_is_an_escape():
    unseen = [
        chr(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(chr(code)) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI", "BN")
    ]
    assert [character for character in unseen if printable(character) == character] == []


def test_a_joiner_stays_inside_an_emoji_and_a_persian_word_only():
    family, word = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u0645\u06cc\u200c\u0634\u0648\u062f"
    assert printable(family) == family and printable(word) == word
    assert printable("a\u200db") == r"a\u200db" and printable("é\u200d\u200dé") == r"é\u200d\u200dé"


def test_json_stays_the_same_document():
    document = {"title": "\x1b[31m\x9b\x7f\u202e\U000e0041 größer\n", "n": [1, 2.5]}
    text = printable_json(json.dumps(document, ensure_ascii=False, indent=2))
    assert json.loads(text) == document
    assert printable(text.replace("\n", "")) == text.replace("\n", "") and "größer" in text and text.count("\n") == 6
