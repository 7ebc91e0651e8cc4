"""Addresses of Milvus: taken apart, and shown without secrets. Whatever prints an address prints `Address.shown`."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import unquote

HIDDEN = "..."
"""What stands in an address for all that may be a secret."""

PORTS = {"http": 19530, "tcp": 19530, "https": 443}
"""The schemes of a server's address, and the ports that they mean."""

_SERVER = re.compile(
    r"(?P<scheme>https?|tcp)://"
    r"(?:(?P<credentials>[^/?#]*)@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::(?P<port>[0-9]{1,5}))?"
    # An '@' further on would leave open where the password ends and the host begins.
    r"(?:/(?P<path>[^?#@]*))?",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"(https?|tcp)://", re.IGNORECASE)
_WITH_SECRET = re.compile(r"://.*[@?#]|:.*@")
_QUOTES = "()[]<>'\"`,;"
_HOW = (
    "write http://HOST:19530, https://... or a file that ends in .db. What may be a secret is not shown here; "
    "/ ? # @ in a password are written %2F %3F %23 %40"
)
_KNOWN_TO_ALL = "Milvus"
"""The password of a new server: it stands in many messages, and is no secret."""


@dataclass(frozen=True)
class Address:
    """Where Milvus is.

    Attributes:
        shown: the address as it may be printed: scheme, host and port, or the file; "..." for what cannot be read.
        host: of the server; empty for a file.
        port: of the server; 0 for a file.
        server: the address without secrets that pymilvus takes; empty for a file.
        credentials: "user:password", or an API key, out of the address; may be empty.
        database: name of the database that stands behind the host; may be empty.
        problem: why this is no address; empty where it is one.
    """

    shown: str
    host: str = ""
    port: int = 0
    server: str = ""
    credentials: str = ""
    database: str = ""
    problem: str = ""


def address_of(uri: str) -> Address:
    """Return an address taken apart. What cannot be taken apart has a `problem`, and shows no more than its scheme."""
    found = _SERVER.fullmatch(uri)
    if found is None:
        return _unreadable(uri) if _SCHEME.match(uri) else _file(uri)
    scheme, host = found["scheme"].lower(), found["host"]
    port = int(found["port"] or PORTS[scheme])
    shown = f"{scheme}://{host}" + (f":{found['port']}" if found["port"] else "")
    if not 0 < port < 65536:
        return Address(shown, problem=f"there is no port {port}: {_HOW}")
    return Address(
        shown,
        host.strip("[]"),
        port,
        server=f"{scheme}://{host}:{port}",
        credentials=unquote(found["credentials"] or ""),
        database=unquote((found["path"] or "").strip("/").split("/")[0]),
    )


def marked(uri: str) -> str:
    """Return an address as it may be shown, with "..." in each place where something is left out."""
    address = address_of(uri)
    if address.server:
        marked = address.shown.replace("://", f"://{HIDDEN}@") if address.credentials else address.shown
        return marked + (f"/{HIDDEN}" if address.database else "")
    return address.shown


def shortened(text: str) -> str:
    """Return a text with "..." in place of what may be a secret in the addresses that stand in it."""
    return re.sub(r"\S+", lambda found: _shortened_word(found[0]), text)


def secrets_of(uri: str, token: str) -> tuple[str, ...]:
    """Return what no message may repeat of an address and a token, the longest first."""
    address = address_of(uri)
    whole = {token, address.credentials, *(found[1] for found in [re.search("://([^/]*)@", uri)] if found)}
    passwords = {each.partition(":")[2] for each in whole} - {_KNOWN_TO_ALL}
    # gRPC's header of a call has the token in this form.
    headers = {b64encode(each.encode("utf-8", "surrogateescape")).decode() for each in whole if each}
    addresses = set() if address.shown == uri else {uri}
    return tuple(sorted(filter(None, whole | passwords | headers | addresses), key=lambda each: (-len(each), each)))


def without(text: str, secrets: tuple[str, ...]) -> str:
    """Return a text with "***" in place of each of these secrets that stands there as a word of its own."""
    for secret in secrets:
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    return shortened(text)


def _unreadable(uri: str) -> Address:
    scheme, _, rest = uri.partition("://")
    if "@" in re.sub("^[^/?#]*", "", rest):
        reason = "an '@' stands behind a '/', '?' or '#'"
    elif "?" in rest or "#" in rest:
        reason = "Milvus takes nothing behind a '?' or '#'; a token is given by --token or MILVUS_TOKEN"
    else:
        reason = "host and port cannot be read"
    return Address(f"{scheme.lower()}://{HIDDEN}", problem=f"{reason}: {_HOW}")


def _file(uri: str) -> Address:
    # In "user:password@host" and "http:/user:password@host" a person forgot something; in a name such as
    # "/home/me@work/items.db" nothing is secret.
    first, _, _ = uri.partition("/")
    like_a_server = re.match(r"[\w+.-]+:", uri) or re.search(r":.*@|[?#\0]", uri, re.DOTALL) or "@" in first
    if uri.endswith(".db") and not like_a_server:
        return Address(uri)
    return Address(HIDDEN, problem=f"it has no http:// or https:// before the host, or no .db at its end: {_HOW}")


def _shortened_word(word: str) -> str:
    if not _WITH_SECRET.search(word):
        return word
    uri = word.strip(_QUOTES)
    return word.replace(uri, marked(uri))
