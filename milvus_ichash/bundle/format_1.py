"""Format 1 in the words of format 2. It had regular expressions, `token_pattern`, in place of named tokenisers."""

from __future__ import annotations

from typing import Any

from milvus_ichash.bundle.tokenizers import PATTERNS

_NAMES = {pattern.pattern: name for name, pattern in PATTERNS.items()}


def upgraded(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest of format 1 with the names of format 2, not checked otherwise. It keeps its fingerprint.

    Raises:
        ValueError: a text is split by a regular expression other than the two that were in use.
    """
    raw = manifest.get("raw")
    if not isinstance(raw, dict):
        return manifest
    return {**manifest, "raw": {name: upgraded_step(step) for name, step in raw.items()}}


def upgraded_step(step: Any) -> Any:
    """Return one preprocessing step of format 1 with the names of format 2, not checked otherwise.

    Raises:
        ValueError: as `upgraded`.
    """
    if not isinstance(step, dict) or "token_pattern" not in step:
        return step
    pattern = step["token_pattern"]
    if not isinstance(pattern, str) or pattern not in _NAMES:
        known = " and ".join(f"'{each}'" for each in _NAMES)
        raise ValueError(
            f"its words are split by the regular expression {str(pattern)[:60]!r}, and of those in files only {known} "
            "are ever used"
        )
    return {**{name: value for name, value in step.items() if name != "token_pattern"}, "tokenizer": _NAMES[pattern]}
