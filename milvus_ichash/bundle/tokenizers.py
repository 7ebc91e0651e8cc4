"""The tokenisers that a bundle can name: how a text is split into words.

They are fixed, and no regular expression of a file is ever compiled: a hostile one could run for years.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

TokenizerName = Literal["ascii_words", "unicode_words"]

PATTERNS: Mapping[TokenizerName, re.Pattern[str]] = MappingProxyType(
    {
        "ascii_words": re.compile(r"[a-z0-9]+"),
        "unicode_words": re.compile(r"\w\w+"),
    }
)
"""What a word is, in a text in lower case. In bundles of format 1 the pattern stands in place of the name."""


def words_of(text: str, tokenizer: TokenizerName) -> list[str]:
    """Return the words of a text, in lower case and in order."""
    return PATTERNS[tokenizer].findall(text.lower())
