"""Connections to Milvus that fail soon and clearly, and the one place where pymilvus is imported."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from milvus_ichash.errors import BackendMissingError, InputError, MilvusError
from milvus_ichash.index.client_errors import milvus_error
from milvus_ichash.index.columnar import Columnar
from milvus_ichash.index.lite import LiteServer, acquire, lite_version, release
from milvus_ichash.settings import MilvusSettings, load_settings

_BLANKED = ("MILVUS_URI", "MILVUS_DEFAULT_CONNECTION")
_PORTS = {"http": 19530, "tcp": 19530, "https": 443}
_BOUND_SECONDS = 6.0
"""Milvus's default for `gracefulTime`, 5 s, and one more."""
_OLDEST = (2, 3)
"""Servers before it have no upsert."""


def import_pymilvus() -> ModuleType:
    """Import pymilvus, which reads the environment as it is imported.

    `MILVUS_URI=./x.db` makes a plain `import pymilvus` fail, and a `.env` above its folder is loaded into our
    environment: the variable is blanked meanwhile, and the environment left as it was. Its logs, which repeat every
        error that it also
    raises, are silenced.

    Raises:
        BackendMissingError: it cannot be imported.
    """
    if "pymilvus" in sys.modules:
        return sys.modules["pymilvus"]
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(_BLANKED, ""))
    try:
        import pymilvus
    except ImportError as error:
        raise BackendMissingError(f"pymilvus cannot be imported ({error}): pip install 'pymilvus>=2.6,<4'.") from error
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update({name: before[name] for name in _BLANKED if name in before})
    for name in ("pymilvus", "pymilvus.milvus_client", "pymilvus.bulk_writer"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    module: ModuleType = pymilvus
    return module


class Connection:
    """A connection to Milvus; also a context manager that closes it.

    Attributes:
        client: the `pymilvus.MilvusClient`.
        is_lite: True for Milvus Lite, embedded in a file.
        server_version: version of the server, or of Milvus Lite.
        timeout: seconds after which a call is given up.
        address: where it leads, without secrets.
        alias: pymilvus's name for it.
        columnar: the fast way in and out; None where this pymilvus has none, or none was wanted.
    """

    def __init__(self, client: Any, settings: MilvusSettings, uri: str, lite: LiteServer | None) -> None:
        self.client = client
        self._uri = uri
        self.settings = settings
        self.alias = uuid4().hex
        self.columnar: Columnar | None = None
        self.is_lite = lite is not None
        self.timeout = settings.timeout
        self.address = settings.address
        self.server_version = ""
        self._secret = settings.secret
        self._changed: dict[str, float] = {}
        self._async_clients: dict[asyncio.AbstractEventLoop, Any] = {}
        self._lite = lite

    def is_before(self, release: tuple[int, ...]) -> bool:
        """True for a server before this release. Versions are like `v2.3.5-lite`; what is not like that may be newer."""
        version = re.match(r"v?(\d+(?:\.\d+)*)", self.server_version)
        numbers = tuple(map(int, version[1].split("."))) if version else ()
        return len(numbers) >= len(release) and numbers[: len(release)] < release

    def changed(self, collection: str) -> None:
        """To be called where a collection is opened, and where it was written to: the next searches are to see all of it."""
        self._changed[collection] = time.monotonic()

    def settled(self, collection: str) -> bool:
        """True where searches at Bounded consistency see all that this connection knows to be there.

        At Strong consistency, a server answers a search with its next time tick: after up to 0.2 s, where the search
            takes
        less than a millisecond. Bounded ones are up to 5 s behind, so they will do a while after the last change.
        """
        return not self.is_lite and time.monotonic() - self._changed.get(collection, -math.inf) > _BOUND_SECONDS

    @contextmanager
    def calling(self, what: str) -> Iterator[None]:
        """Turn whatever pymilvus raises inside into a MilvusError of one sentence; `what` says what was being done."""
        import grpc  # type: ignore[import-untyped]

        exceptions = import_pymilvus().exceptions
        try:
            yield
        except (exceptions.MilvusException, grpc.RpcError) as error:
            if self._lite is not None and not self._lite.alive:
                raise MilvusError(
                    f"Milvus at {self.address}: the process of Milvus Lite ended while it was to {what}; "
                    "run the command again."
                ) from error
            raise milvus_error(error, what, self.address, self.timeout, self._secret) from error

    async def async_client(self) -> Any:
        """A `pymilvus.AsyncMilvusClient` of the running event loop, made at the first call; `close_async` closes it."""
        loop = asyncio.get_running_loop()
        if loop not in self._async_clients:
            settings = self.settings
            options = {} if self.is_lite else {"token": settings.token.get_secret_value(), "db_name": settings.db_name}
            self._async_clients[loop] = import_pymilvus().AsyncMilvusClient(self._uri, timeout=self.timeout, **options)
        return self._async_clients[loop]

    async def close_async(self) -> None:
        """Close what the running event loop uses of the connection; `close` does the rest."""
        client = self._async_clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    def close(self) -> None:
        """Close the connection; of Milvus Lite, the last one ends its process."""
        client, self.client = self.client, None
        if client is not None:
            client.close()
            if self._lite is not None:
                release(self._lite)

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(
    settings: MilvusSettings | None = None, *, create: bool = True, columnar: bool = True, **where: Any
) -> Connection:
    """Connect to a Milvus server, or to Milvus Lite in a file.

    Close the connection in the end, or use it in a `with` statement:

        with connect(uri="http://localhost:19530", token="root:Milvus") as connection:
            index = HashIndex.open(connection, "items")

    Args:
        settings: where Milvus is, as `load_settings` gives it; None: `where` says it.
        create: make the file of Milvus Lite where it is not there; else that is an InputError.
        columnar: write and read in columns, where this pymilvus allows it (`index.columnar`); else by `MilvusClient`
            alone.
        where: `uri`, `token`, `db_name` and `timeout` (in seconds); what is left out comes from the environment, `.env`,
            `ichash.toml` or the defaults, as for the command line (`load_settings`).

    Returns:
        An open connection.

    Raises:
        MilvusError: not reached within the timeout, refused, a server before 2.3, or a file that cannot be opened.
        InputError: an invalid address, or a setting that there is not.
        TypeError: both `settings` and `where` are given.
        BackendMissingError: Milvus Lite is needed and not there, or a release without binary vectors.
    """
    if settings is None:
        settings = load_settings(**where)
    elif where:
        raise TypeError(f"give the settings, or {', '.join(where)} by name, not both")
    if settings.is_lite:
        if not create and settings.uri.endswith(".db") and not Path(settings.uri).expanduser().exists():
            raise InputError(
                f"there is no database '{settings.uri}': ingest something first, or name another with --uri or MILVUS_URI."
            )
        return _connect_lite(settings, columnar)
    _reach(settings)
    options = {"token": settings.token.get_secret_value(), "db_name": settings.db_name}
    connection = _open(settings, settings.uri, options, None, columnar)
    try:
        with connection.calling("tell its version"):
            connection.server_version = str(connection.client.get_server_version(timeout=settings.timeout))
        _check_version(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_version(connection: Connection) -> None:
    """Raise MilvusError for a server that lacks what we need."""
    if connection.is_before(_OLDEST):
        raise MilvusError(
            f"Milvus at {connection.address} is {connection.server_version}, which has no upsert: "
            f"{'.'.join(map(str, _OLDEST))} or later is needed."
        )


def _connect_lite(settings: MilvusSettings, columnar: bool) -> Connection:
    server = acquire(settings.uri, settings.timeout)
    try:
        connection = _open(settings, server.address, {}, server, columnar)
    except BaseException:
        release(server)
        raise
    connection.server_version = lite_version()
    return connection


def _open(
    settings: MilvusSettings, uri: str, options: dict[str, str], lite: LiteServer | None, columnar: bool
) -> Connection:
    pymilvus = import_pymilvus()
    connection = Connection(None, settings, uri, lite)
    with connection.calling("answer"):
        # A connection of its own, which pymilvus closes with the client: by `dedicated`, in early 2.6 by
        # `alias`. Else clients
        # of one address share one, which is never closed, or closed for all of them by the first.
        connection.client = pymilvus.MilvusClient(
            uri, timeout=settings.timeout, dedicated=True, alias=connection.alias, **options
        )
        connection.columnar = Columnar.of(connection.client) if columnar else None
    return connection


def _reach(settings: MilvusSettings) -> None:
    """Knock at the port: without it, pymilvus takes the whole timeout to find that nobody is there."""
    try:
        parts = urlsplit(settings.uri)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme.lower())
    except ValueError as error:
        raise InputError(
            f"'{settings.address}' is no address ({error}): write http://HOST:19530, or a file that ends in .db."
        ) from error
    if not host or port is None:
        raise InputError(
            f"'{settings.address}' is no address: write http://HOST:19530, https://... or a file that ends in .db."
        )
    try:
        socket.create_connection((host, port), timeout=settings.timeout).close()
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise MilvusError(
            f"Milvus is not reached at {settings.address} ({reason}): start it, "
            "or give another address with --uri or MILVUS_URI.",
            may_pass=True,
        ) from error
