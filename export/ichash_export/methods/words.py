"""Which modalities are words, for methods that scale words otherwise than everything else."""

from __future__ import annotations

from collections.abc import Sequence

from milvus_ichash.errors import InputError

WORDS = ("text", "words")
"""Names that mean words, unless the settings say otherwise."""


def words_among(modalities: Sequence[str], chosen: Sequence[str], method: str) -> frozenset[str]:
    """Return those of the modalities that the setting `words` of a method names.

    The names that mean words by default need not be there.

    Raises:
        InputError: a name that is neither a modality nor such a name.
    """
    if unknown := [m for m in chosen if m not in (*modalities, *WORDS)]:
        raise InputError(
            f"{method}: 'words' has '{unknown[0]}', which is not among the modalities: {', '.join(modalities)}."
        )
    return frozenset(chosen) & frozenset(modalities)
