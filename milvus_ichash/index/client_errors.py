"""Errors of pymilvus and gRPC: what they say in one sentence, and whether the same call may succeed later.

It is told by gRPC's status and Milvus's code. Releases before 2.3.3, and pymilvus itself, send some errors without a
code of their own: the words of those are looked at here and nowhere else.
"""

from __future__ import annotations

import re

from milvus_ichash.addresses import without
from milvus_ichash.errors import MilvusError

_GRPC = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED")
_MILVUS = {2, 3, 4, 7, 8, 9, 11, 101, 103, 104, 106, 400, 401, 500, 501, 503, 901, 902, 903, 1001, 1302}
"""Codes of Milvus (pkg/util/merr) for what passes.

Not available, memory, requests in flight, disk, rate, quota, time tick; a collection that is being loaded; replicas,
channels and nodes that are gone for now; message queue and object storage.
"""
_EXPRESSION = (1100, 2000, 65535)
"""Codes of Milvus for an expression that it cannot parse or evaluate (65535: releases before 2.4)."""
_PASSES = re.compile(
    r"rate limit|quota|not ready|unavailable|not available|no available|not healthy|not loaded|channel not found|"
    r"closed channel|socket closed|stream removed|rst_stream|goaway|connection (refused|reset)|retry timeout|"
    r"retry run out|node (not match|offline)|context (canceled|deadline)",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"unauthenticated|auth check failure|api key|permission ?denied|incorrect password", re.IGNORECASE
)
_TOO_LATE = re.compile("Retry timeout|DEADLINE_EXCEEDED")


def milvus_error(error: Exception, what: str, address: str, timeout: float, secrets: tuple[str, ...]) -> MilvusError:
    """Return the error of one sentence for what pymilvus or gRPC raised.

    Args:
        error: that was raised.
        what: what was being done: "create the collection 'items'".
        address: of Milvus, without secrets.
        timeout: of the call, in seconds.
        secrets: never shown, whatever pymilvus or the server repeats.
    """
    where, reason = f"Milvus at {address}", without(_reason_of(error), secrets)
    # To a refused token, pymilvus says "illegal connection params or server unavailable": the answer is its cause.
    if any(_REFUSED.search(_reason_of(each)) for each in _chain(error)):
        return MilvusError(f"{where} refused the token, or its user may not {what}: check --token or MILVUS_TOKEN.")
    may_pass = any(map(_passes, _chain(error)))
    if _TOO_LATE.search(reason):
        says = f"did not {what} within {timeout:g} s: see whether it is well, or allow more with --timeout."
    else:
        says = f"could not {what}: {reason}."
    return MilvusError(f"{where} {says}", may_pass=may_pass)


def refused_expression(error: MilvusError) -> str | None:
    """Return why Milvus could not parse or evaluate an expression; None where something else went wrong."""
    cause = error.__cause__
    return _reason_of(cause) if cause is not None and getattr(cause, "code", None) in _EXPRESSION else None


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error, its cause, the cause of that, and so on."""
    chain = [error]
    # Some releases of pymilvus raise an error from itself.
    while (cause := chain[-1].__cause__) is not None and cause not in chain:
        chain.append(cause)
    return chain


def _passes(error: BaseException) -> bool:
    code = getattr(error, "code", None)
    code = code() if callable(code) else code
    if getattr(code, "name", None) in _GRPC or (isinstance(code, int) and int(code) in _MILVUS):
        return True
    return bool(_PASSES.search(str(getattr(error, "message", "") or error)))


def _reason_of(error: BaseException) -> str:
    """Return what an error says, in one line."""
    details, message = getattr(error, "details", None), getattr(error, "message", None)
    text = message or (f"{error.code()} {details()}" if callable(details) else str(error))  # type: ignore[attr-defined]
    lines = [line.strip(" .") for line in str(text).splitlines() if line.strip()]
    # The C++ source file at the end is no help to anybody.
    return re.sub(r"\s+at /\S+\.(cpp|h):\d+", "", lines[0].removeprefix("=> ")) if lines else type(error).__name__
