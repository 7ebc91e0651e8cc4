"""How far an ingest or an import is: its rows, and then its index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from milvus_ichash.cli.output import OutputOptions
from milvus_ichash.cli.progress import towards

if TYPE_CHECKING:
    from milvus_ichash.ingestion.ingest_report import Listeners


@contextmanager
def listening(what: str, rows: int | None, output: OutputOptions) -> Iterator[Listeners]:
    """Show progress bars on stderr, for the rows and then for the index, and write remarks there too."""
    from milvus_ichash.ingestion.ingest_report import Listeners

    with ExitStack() as bars:
        advance = bars.enter_context(output.progress(what, rows, unit="rows"))
        show: Callable[[int, int], None] | None = None

        def indexed(done: int, total: int) -> None:
            nonlocal show
            if show is None:
                bars.close()  # one bar at a time
                show = towards(bars.enter_context(output.progress("indexing", total, unit="rows")))
            show(done, total)

        yield Listeners(advance=advance, indexed=indexed, remark=output.note)
