"""Addresses: which parts there are, and that nothing that may be a secret is shown of them."""

from __future__ import annotations

import base64
import re
import string
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from milvus_ichash.addresses import address_of, marked, secrets_of, shortened, without

SECRET = "S3CRET"
HOSTILE = [
    "http://root:S3/CRET@localhost:1",
    "http://root:S3?CRET@localhost:1",
    "http://root:S3#CRET@localhost:1",
    "http://S3/CRET@localhost:1",
    "http://root:S3@CRET@localhost:1",
    "http://root:S3%2FCRET@localhost:1",
    "root:S3CRET@localhost:19530",
    "root:S3CRET@localhost/items.db",
    "S3CRET@localhost/items.db",
    "http:/root:S3CRET@localhost:1",
    "http:root:S3CRET@localhost:1",
    "http:/root:S3CRET@localhost/items.db",
    "http//root:S3CRET@localhost:1",
    "http://localhost:1/?token=S3CRET",
    "http://localhost:1?token=S3CRET",
    "http://localhost:1/db?mail=a@S3CRET",
    "http://localhost:1/#S3CRET",
    "http://localhost:1/S3CRET",
    "http://localhost:S3CRET",
    "ftp://root:S3CRET@localhost",
    "S3CRET://localhost",
    "S3CRET",
    "items.db?token=S3CRET",
    "http://root:S3\nCRET@localhost:1",
    "http://root:S3 CRET@localhost:1",
    "HTTP://ROOT:S3CRET@LOCALHOST:1",
    "http://[root:S3CRET@::1]:1",
    "http://localhost:1,root:S3CRET@localhost:2",
]


def shows(text: str) -> bool:
    return "S3" in text or "CRET" in text


@pytest.mark.parametrize("uri", HOSTILE)
def test_no_part_of_a_secret_is_shown(uri: str) -> None:
    address = address_of(uri)
    assert not any(map(shows, (address.shown, address.problem, address.server, marked(uri))))
    assert not any(map(shows, (without(f"illegal uri: [{uri}]", secrets_of(uri, "")),)))


@pytest.mark.parametrize(
    ("uri", "shown", "server", "credentials", "database"),
    [
        ("http://localhost", "http://localhost", "http://localhost:19530", "", ""),
        ("HTTPS://Host.example", "https://Host.example", "https://Host.example:443", "", ""),
        ("tcp://10.0.0.1:1/", "tcp://10.0.0.1:1", "tcp://10.0.0.1:1", "", ""),
        ("http://[::1]:1/mine", "http://[::1]:1", "http://[::1]:1", "", "mine"),
        ("http://root:pass@h:1/a/b", "http://h:1", "http://h:1", "root:pass", "a"),
        ("http://key@h:1", "http://h:1", "http://h:1", "key", ""),
        ("http://root:p%2F%3F%23%40%3A@h:1", "http://h:1", "http://h:1", "root:p/?#@:", ""),
        ("http://root:a@b@h:1", "http://h:1", "http://h:1", "root:a@b", ""),
        ("/home/me@work/items.db", "/home/me@work/items.db", "", "", ""),
        ("./milvus_ichash.db", "./milvus_ichash.db", "", "", ""),
    ],
)
def test_the_parts_of_an_address(uri: str, shown: str, server: str, credentials: str, database: str) -> None:
    address = address_of(uri)
    assert not address.problem
    assert (address.shown, address.server, address.credentials, address.database) == (
        shown,
        server,
        credentials,
        database,
    )


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("http://root:S3/CRET@localhost:1", "an '@' stands behind a '/'.*%2F"),
        ("http://localhost:1/?token=S3CRET", "takes nothing behind a '\\?'.*--token or MILVUS_TOKEN"),
        ("http://[bad", "host and port cannot be read"),
        ("http://h:99999", "there is no port 99999"),
        ("root:S3CRET@localhost:19530", "no http:// or https:// before the host"),
    ],
)
def test_why_it_is_no_address(uri: str, says: str) -> None:
    assert re.search(says, address_of(uri).problem)


# Letters that neither a host of these tests nor a message has, so that a leak cannot be chance.
LETTERS = "QXZJ0" + "/?#@:%[]&= +"
secrets = st.text(LETTERS, min_size=1, max_size=12).filter(lambda s: any(c in "QXZJ0" for c in s))
schemes = st.sampled_from(["http://", "https://", "tcp://", "http:/", "http:", "", "//", "ftp://"])
hosts = st.sampled_from(["localhost", "a.b", "[::1]", "localhost:1", "a.b:99"])


@st.composite
def uris_with_a_secret(draw: st.DrawFn) -> tuple[str, str]:
    """A URI with a secret in one of its parts, as it is or in percent codes, and the secret."""
    secret = draw(secrets)
    put = quote(secret, safe="") if draw(st.booleans()) else secret
    scheme, host, user = draw(schemes), draw(hosts), draw(st.sampled_from(["", "root", "root:"]))
    tail = draw(st.sampled_from(["", "/", "/db", "/x.db"]))
    form = draw(
        st.sampled_from(
            [
                f"{scheme}{user}:{put}@{host}{tail}",
                f"{scheme}{put}@{host}{tail}",
                f"{scheme}{user}@{host}/?token={put}",
                f"{scheme}{host}{tail}?token={put}",
                f"{scheme}{host}{tail}#{put}",
                f"{scheme}{host}/db/{put}",
                f"http://{host}/{put}",
                f"{put}://{host}",
            ]
        )
    )
    return form, secret


@given(uris_with_a_secret())
@example(("http:///?token=Q", "Q"))
def test_a_secret_in_any_part_is_never_shown(case: tuple[str, str]) -> None:
    uri, secret = case
    address = address_of(uri)
    printed = (address.shown, address.problem, marked(uri), without(f"'{uri}' failed", secrets_of(uri, "")))
    for text in printed:
        for part in re.findall("[QXZJ0]+", secret.translate({ord(c): " " for c in string.punctuation})):
            assert part not in re.sub("19530|%2F|%3F|%23|%40", "", text), (uri, text)


@given(st.text(max_size=60))
def test_every_text_can_be_taken_apart(text: str) -> None:
    address = address_of(text)
    assert bool(address.problem) != bool(address.server or address.shown == text)
    shortened(text)


def test_errors_that_repeat_a_secret_are_shortened() -> None:
    uri, token = "http://root:S3%2FCRET@h:1/mine", "root:S3/CRET"
    header = base64.b64encode(token.encode()).decode()
    said = f"illegal uri: [{uri}], token {token}, authorization {header}, S3/CRET, http://other:pw@h2:3/x is Milvus's"
    kept = without(said, secrets_of(uri, token))
    assert not shows(kept) and header not in kept and "pw" not in kept
    assert kept.endswith("http://...@h2:3/... is Milvus's")
    assert without("Milvus is not ready", secrets_of("http://root:Milvus@h:1", "root:Milvus")) == "Milvus is not ready"


def test_other_texts_stay_as_they_are() -> None:
    text = "see https://milvus.io/docs/limits.md: 3@4, mail me@example.org, a:b"
    assert shortened(text) == text
