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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any
from uuid import uuid4

from milvus_ichash.errors import BackendMissingError, InputError, MilvusError
from milvus_ichash.index.client_errors import milvus_error
from milvus_ichash.index.columnar import Columnar
from milvus_ichash.index.lite import LiteServer, acquire, lite_version, release
from milvus_ichash.index.stored_ids import StoredIds
from milvus_ichash.settings import MilvusSettings, load_settings

_BLANKED = ("MILVUS_URI", "MILVUS_DEFAULT_CONNECTION")
_BOUND_SECONDS = 6.0
"""Milvus's default for `gracefulTime`, 5 s, and one more."""
_OLDEST = (2, 3)
"""Servers before it have no upsert."""


def import_pymilvus() -> ModuleType:
    """Import pymilvus, which reads the environment as it is imported.

    `MILVUS_URI=./x.db` makes a plain `import pymilvus` fail, and a `.env` above its folder is loaded into our
    environment: the variable is blanked meanwhile, and the environment left as it was. Its logs, which repeat every
    error that it also raises, are silenced.

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
    return sys.modules[pymilvus.__name__]


class Connection:
    """A connection to Milvus; also a context manager that closes it.

    Attributes:
        ids: how ids are stored, which differs where `client` is used itself.
        is_lite: True for Milvus Lite, embedded in a file.
        server_version: version of the server, or of Milvus Lite.
        timeout: seconds after which a call is given up.
        address: where it leads, without secrets.
        alias: pymilvus's name for it.
        columnar: the fast way in and out; None where this pymilvus has none, or none was wanted.
    """

    def __init__(self, settings: MilvusSettings, lite: LiteServer | None) -> None:
        self._client: Any = None
        self._closed = False
        self.alias = uuid4().hex
        self.columnar: Columnar | None = None
        self.is_lite = lite is not None
        self.ids = StoredIds(escaped=lite is not None)
        self.timeout = settings.timeout
        self.address = settings.address
        self.server_version = ""
        self._secrets = settings.secrets
        self._changed: dict[str, float] = {}
        self._async_clients: dict[asyncio.AbstractEventLoop, Any] = {}
        self._lite = lite
        # What pymilvus does not know, its errors cannot repeat: it gets the address without user and password, which
        # it would not decode either.
        parts = settings.parts
        self._uri = parts.server if lite is None else lite.address
        of_server = {"token": settings.credentials, "db_name": settings.db_name or parts.database}
        self._options = of_server if lite is None else {}

    def open(self, *, columnar: bool) -> None:
        """Make the client, and the fast way in and out where it is wanted and this pymilvus has one."""
        with self.calling("answer"):
            # A connection of its own, which pymilvus closes with the client: by `dedicated`, in early 2.6 by `alias`.
            # Else clients of one address share one, which is never closed, or closed for all of them by the first.
            self._client = import_pymilvus().MilvusClient(
                self._uri, timeout=self.timeout, dedicated=True, alias=self.alias, **self._options
            )
            self.columnar = Columnar.of(self.client, self.ids) if columnar else None

    @property
    def client(self) -> Any:
        """The `pymilvus.MilvusClient`.

        Raises:
            InputError: the connection is closed.
        """
        if self._closed:
            raise InputError(f"the connection to {self.address} is closed: connect anew, and open what you need.")
        return self._client

    def is_before(self, release: tuple[int, ...]) -> bool:
        """Return True for a server before this release, such as (2, 4).

        Versions are like `v2.3.5-lite`; what is not like that may be newer.
        """
        version = re.match(r"v?(\d+(?:\.\d+)*)", self.server_version)
        numbers = tuple(map(int, version[1].split("."))) if version else ()
        return len(numbers) >= len(release) and numbers[: len(release)] < release

    def changed(self, collection: str) -> None:
        """Have the next searches see all of a collection: to be called where it is loaded or written to."""
        self._changed[collection] = time.monotonic()

    def settled(self, collection: str) -> bool:
        """Return True where searches at Bounded consistency see all that this connection knows to be there.

        At Strong consistency, a server answers a search with its next time tick: after up to 0.2 s, where the search
        takes less than a millisecond. Bounded searches are up to 5 s behind, so they will do a while after the last
        change.
        """
        return not self.is_lite and time.monotonic() - self._changed.get(collection, -math.inf) > _BOUND_SECONDS

    @contextmanager
    def calling(self, what: str, *, writes: bool = False) -> Iterator[None]:
        """Turn whatever pymilvus raises inside into a MilvusError of one sentence.

        Args:
            what: says what is being done.
            writes: that changes what is stored.
        """
        import grpc  # type: ignore[import-untyped]

        exceptions = import_pymilvus().exceptions
        try:
            yield
        except (exceptions.MilvusException, grpc.RpcError) as error:
            trouble = None if self._lite is None else self._lite.trouble(str(error), writes=writes)
            if trouble is not None:
                raise MilvusError(f"Milvus at {self.address} could not {what}: {trouble}.") from error
            raise milvus_error(error, what, self.address, self.timeout, self._secrets) from error

    def call(
        self, what: str, method: str | Callable[..., Any], *arguments: Any, writes: bool = False, **options: Any
    ) -> Any:
        """Call a method of `client`, or another function, within the timeout unless another is given.

        `what`, `writes` and errors as `calling`.
        """
        function = getattr(self.client, method) if isinstance(method, str) else method
        with self.calling(what, writes=writes):
            return function(*arguments, **{"timeout": self.timeout, **options})

    async def async_client(self) -> Any:
        """Return the `pymilvus.AsyncMilvusClient` of the running event loop, which `close_async` closes."""
        loop = asyncio.get_running_loop()
        if loop not in self._async_clients and self.client is not None:
            client = import_pymilvus().AsyncMilvusClient(self._uri, timeout=self.timeout, **self._options)
            self._async_clients[loop] = client
        return self._async_clients[loop]

    async def close_async(self) -> None:
        """Close what the running event loop uses of the connection; `close` does the rest."""
        client = self._async_clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    def close(self) -> None:
        """Close the connection; of Milvus Lite, the last one ends its process."""
        client, self._client = self._client, None
        self.columnar, self._closed = None, True
        lite, self._lite = self._lite, None
        if client is not None:
            client.close()
        if lite is not None:
            release(lite)

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(
    settings: MilvusSettings | None = None,
    *,
    create: bool = True,
    columnar: bool = True,
    thorough: bool = False,
    **where: Any,
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
        thorough: search a file of Milvus Lite for damage however large it is; else up to 1 GiB, which takes a second.
        where: `uri`, `token`, `db_name` and `timeout` (in seconds); what is left out comes from the environment,
            `.env`, `ichash.toml` or the defaults, as for the command line (`load_settings`).

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
    settings.check_address()
    settings.check_token_belongs_to_address()
    if settings.is_lite:
        if not create and settings.uri.endswith(".db") and not Path(settings.uri).expanduser().exists():
            raise InputError(
                f"there is no database '{settings.uri}': ingest something first, "
                "or name another with --uri or MILVUS_URI."
            )
        connection = Connection(settings, acquire(settings.uri, settings.timeout, thorough=thorough))
    else:
        _reach(settings)
        connection = Connection(settings, None)
    try:
        connection.open(columnar=columnar)
        if settings.is_lite:
            connection.server_version = lite_version()
            return connection
        connection.server_version = str(connection.call("tell its version", "get_server_version"))
        if connection.is_before(_OLDEST):
            raise MilvusError(
                f"Milvus at {connection.address} is {connection.server_version}, which has no upsert: "
                f"{'.'.join(map(str, _OLDEST))} or later is needed."
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _reach(settings: MilvusSettings) -> None:
    """Knock at the port: without it, pymilvus takes the whole timeout to find that nobody is there."""
    parts = settings.parts
    try:
        socket.create_connection((parts.host, parts.port), timeout=settings.timeout).close()
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise MilvusError(
            f"Milvus is not reached at {settings.address} ({reason}): start it, "
            "or give another address with --uri or MILVUS_URI.",
            may_pass=True,
        ) from error
