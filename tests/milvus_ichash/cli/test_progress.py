"""Progress on stderr: a line that fits into a terminal, and lines every so often where there is none."""

from __future__ import annotations

import io
import re
import threading

import pytest
from rich.cells import cell_len
from rich.console import Console

from milvus_ichash.cli.progress import Meter, ProgressLines, clock, shown_progress

SAID = "mAP 0.8597 (epoch 10); losses: similarity 0.4321, quantisation 0.01234"


def test_the_time_left_is_that_of_the_last_minute() -> None:
    meter = Meter("unihash, 32 bits", 50, "epoch", began=100)
    assert meter.line(105) == "unihash, 32 bits: epoch 0/50, 0:00:05 so far"
    meter.step(1, "", 110)
    assert meter.line(110) == "unihash, 32 bits: epoch 1/50, 0:08:10 left"
    assert meter.time(115) == "0:08:05 left"
    for i in range(1, 41):  # then an epoch takes 2 seconds
        meter.step(1, "loss 1.23", 110 + 2 * i)
    assert meter.line(190) == "unihash, 32 bits: epoch 41/50, 0:00:18 left, loss 1.23"
    meter.step(9, "", 250)
    assert meter.line(250) == "unihash, 32 bits: epoch 50/50, in 0:02:30, loss 1.23"


def test_slow_steps_are_looked_back_at_further_than_a_minute() -> None:
    meter = Meter("grid", 8, "runs", began=0)
    for i in range(1, 5):
        meter.step(1, "", 600 * i)
    assert meter.line(2400) == "grid: runs 4/8, 0:40:00 left"
    assert Meter("import", None, "rows", began=0).line(61) == "import: rows 0, 0:01:01 so far"


def test_what_a_run_did_before_does_not_make_it_look_fast() -> None:
    meter = Meter("unihash", 50, "epoch", began=0, done=40)
    meter.step(1, "", 60)
    assert meter.line(60) == "unihash: epoch 41/50, 0:09:00 left"
    meter.ended = True
    assert meter.line(60) == "unihash: epoch 41/50, in 0:01:00"


def told_of_steps_each_second(meter: Meter, seconds: int, *, at_once: bool) -> list[str]:
    """The lines that come where a step is done in each second."""
    told: list[str] = []
    lines = ProgressLines(meter, told.append, at_once=at_once)
    for second in range(1, seconds + 1):
        meter.step(1, "", second)
        lines.stepped(second)
        lines.beat(second)
    lines.end(seconds)
    return told


def test_a_line_comes_after_the_first_step_every_30_seconds_and_after_the_last_step() -> None:
    told = told_of_steps_each_second(Meter("unihash", 100, "epoch", began=0), 100, at_once=True)
    assert [re.findall(r"(\d+)/", line)[0] for line in told] == ["1", "31", "61", "91", "100"]


def test_short_work_is_told_of_only_where_that_is_asked_for() -> None:
    assert told_of_steps_each_second(Meter("into items", 29, "rows", began=0), 29, at_once=False) == []


def test_without_news_a_line_comes_every_five_minutes() -> None:
    meter, told = Meter("indexing", 10, "rows", began=0), []
    lines = ProgressLines(meter, told.append, at_once=False)
    for second in range(1, 1000):
        lines.beat(second)
    assert told == [f"indexing: rows 0/10, 0:{minutes:02}:00 so far" for minutes in (5, 10, 15)]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 250])
def test_step_time_and_figures_fit_into_a_terminal(width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, color_system=None)
    with shown_progress(console, "unihash [x], 32 bits", 50, unit="epoch") as advance:
        advance(1, SAID)
        advance(49, SAID)
    lines = [re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", line) for line in re.split(r"[\r\n]", out.getvalue())]
    last = [line for line in lines if line.strip()][-1]
    assert cell_len(last) <= width
    for part in (r"epoch 50/50", r"in \d:\d\d:\d\d", r"mAP 0\.8597"):
        assert re.search(part, last), last
    assert ("unihash [x], 32 bits" in last) == (width >= 60)
    assert ("━" in last) == (width >= 72)
    assert (SAID in last) == (width == 250)


def test_without_a_terminal_no_line_is_cut_and_no_thread_stays() -> None:
    out = io.StringIO()
    with shown_progress(Console(file=out, width=80), "unihash", 2, unit="epoch", start=1, at_once=True) as advance:
        advance(1, SAID * 3)
    (line,) = out.getvalue().splitlines()
    assert re.sub(r"\d:\d\d:\d\d", "0:00:00", line) == f"unihash: epoch 2/2, in 0:00:00, {SAID * 3}"
    assert "progress" not in [thread.name for thread in threading.enumerate()]


def test_names_from_data_cannot_move_the_cursor() -> None:
    for terminal in (True, False):
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=200)
        with shown_progress(console, "into \x1b[2Jx", 1, at_once=True) as advance:
            advance(1, "\x1b]52;c;aGk=\x07")
        assert "into \\x1b[2Jx" in out.getvalue() and "\\x1b]52;c;aGk=\\x07" in out.getvalue()
        assert "\x1b]" not in out.getvalue() and "\x1b[2Jx" not in out.getvalue()


def test_nothing_to_do_shows_nothing() -> None:
    for terminal in (True, False):
        out = io.StringIO()
        with shown_progress(Console(file=out, force_terminal=terminal), "x", 0, at_once=True):
            pass
        assert out.getvalue() == ""


def test_the_clock_goes_beyond_a_day() -> None:
    assert [clock(0.4), clock(80), clock(90061)] == ["0:00:00", "0:01:20", "25:01:01"]
