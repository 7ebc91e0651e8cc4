"""The short form of the fuzz: the same hostile files in every run. `make fuzz` draws others, for ten minutes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.fuzzing.reader import Reader
from support.fuzzing.targets import TARGETS

pytestmark = pytest.mark.slow
CASES = 60


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    opened = Reader()
    yield opened
    opened.close()


@pytest.mark.parametrize("name", list(TARGETS))
def test_a_hostile_file_is_read_or_refused(name: str, reader: Reader, tmp_path: Path) -> None:
    """No traceback, no crash, at most 1 GB and 10 s; a failing case is found again by its number, so none is shrunk."""

    @settings(max_examples=CASES, phases=[Phase.generate], database=None)
    @given(st.data())
    def one(data: st.DataObject) -> None:
        case = data.draw(TARGETS[name])
        with case.written(tmp_path) as path:
            outcome = reader.read(case.what, path)
        assert not outcome.problem, outcome.problem

    one()
