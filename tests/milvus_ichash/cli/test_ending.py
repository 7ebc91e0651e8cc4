"""However the program ends, it says one sentence at most, and its exit code says which kind of end it was."""

from __future__ import annotations

import errno
import logging
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import typer
from support.command import PROGRAM, environment, refused, run_here

from milvus_ichash.cli.ending import ended
from milvus_ichash.cli.stopping import when_stopped
from milvus_ichash.errors import ExitCode, InputError, MilvusError, PartialIngestError, Terminated

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")

PRINTING = [
    ["--version"],
    ["train", "--help"],
    ["methods"],
    ["methods", "-f", "json"],
]


def in_a_shell(line: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program as `"$@"` of a line of a shell."""
    command = ["bash", "-c", line, "bash", *PROGRAM, *words]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("words", PRINTING, ids=" ".join)
@pytest.mark.parametrize(
    ("line", "why"),
    [('"$@" > /dev/full', "No space left on device"), ('"$@" >&-', "it is closed")],
    ids=["full", "closed"],
)
def test_results_that_cannot_be_written_are_one_sentence(words, line, why):
    done = in_a_shell(line, *words)
    assert refused(done, ExitCode.NO_OUTPUT, f"the results cannot be written to stdout: {why}.")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_goes_away_ends_the_program_quietly():
    done = in_a_shell('"$@" | (exec <&-); exit ${PIPESTATUS[0]}', "methods", "-f", "json")
    assert (done.returncode, done.stdout, done.stderr) == (ExitCode.READER_GONE, "", "")


def test_the_program_works_without_stderr_and_without_stdin():
    for line in ('"$@" 2>&-', '"$@" 2>/dev/full', '"$@" <&-'):
        done = in_a_shell(line, "methods", "-f", "csv")
        assert (done.returncode, done.stderr) == (0, "") and "unihash" in done.stdout
    assert in_a_shell('"$@" 2>/dev/full', "methods", "nope").returncode == ExitCode.BAD_INPUT


def test_a_file_does_not_open_in_the_place_of_a_closed_stream(tmp_path):
    there = (
        "import os, sys; from milvus_ichash.cli.ending import ended; sys.exit(ended(lambda: os.open('x', os.O_CREAT)))"
    )
    opened = subprocess.run(
        ["bash", "-c", '"$@" <&- >&- 2>&-', "bash", sys.executable, "-c", there], cwd=tmp_path, check=False
    )
    assert opened.returncode > 2


def test_results_go_through_an_encoding_that_lacks_their_characters():
    script = "import sys; from milvus_ichash.cli.ending import ended; ended(lambda: print('größer 中') or 0)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(PYTHONIOENCODING="ascii"), capture_output=True, check=False
    )
    assert (done.stdout, done.stderr) == (rb"gr\xf6\xdfer \u4e2d" + b"\n", b"")


def raising(error: BaseException):
    def program() -> int:
        raise error

    return program


def nested() -> int:
    return nested()


@pytest.mark.parametrize(
    ("program", "code", "says"),
    [
        (raising(InputError("no column 'a'.")), 2, "Error: no column 'a'.\n"),
        (raising(MilvusError("server said \x1b]52;c;eA==\x07.")), 3, "Error: server said \\x1b]52;c;eA==\\x07.\n"),
        (raising(InputError("[red]'a\nError: b'[/red]")), 2, "Error: [red]'a\\nError: b'[/red]\n"),
        (raising(KeyboardInterrupt()), 130, "Error: interrupted.\n"),
        (raising(KeyboardInterrupt("go on with: x")), 130, "Error: go on with: x\n"),
        (
            raising(OSError(errno.ENOSPC, "No space left on device", "a.db")),
            2,
            "Error: 'a.db': No space left on device.\n",
        ),
        (raising(OSError("a library said no")), 2, "Error: a library said no.\n"),
        (raising(BrokenPipeError(errno.EPIPE, "Broken pipe")), 2, "Error: Broken pipe.\n"),
        (raising(MemoryError()), 2, "there is not enough memory"),
        (nested, 2, "Error: the input is nested too deeply.\n"),
        (raising(SystemExit(4)), 4, ""),
        (raising(SystemExit()), 0, ""),
        (lambda: 5, 5, ""),
    ],
)
def test_an_error_is_one_sentence_and_a_code(program, code, says, capsys):
    assert ended(program) == code
    out, err = capsys.readouterr()
    assert out == "" and says in err and err.count("\n") == bool(says)


def test_names_that_are_not_utf_8_are_told_and_secrets_are_not(monkeypatch, capsys):
    error = UnicodeEncodeError("utf-8", "\udcff secret", 0, 1, "surrogates not allowed")
    monkeypatch.setattr("sys.argv", ["milvus-ichash", "ingest", "caf\udce9.parquet", "--bundle", "b"])
    assert ended(raising(error)) == ExitCode.BAD_INPUT
    assert capsys.readouterr().err == (
        "Error: names that are not UTF-8 cannot be used here: give 'caf\\xe9.parquet' other names.\n"
    )
    assert ended(raising(UnicodeDecodeError("utf-8", b"\xff secret", 0, 1, "invalid start byte"))) == ExitCode.BAD_INPUT
    monkeypatch.setattr("sys.argv", ["milvus-ichash", "ingest"])
    assert ended(raising(UnicodeDecodeError("utf-8", b"\xff secret", 0, 1, "invalid start byte"))) == ExitCode.BAD_INPUT
    assert "a file that should be text is not UTF-8 (byte 0): save it as UTF-8" in capsys.readouterr().err


def test_a_fault_of_the_program_has_a_traceback_that_a_terminal_does_not_obey(capsys):
    assert ended(raising(ZeroDivisionError("\x1b[31m"))) == ExitCode.OTHER
    err = capsys.readouterr().err
    assert "Traceback" in err and r"ZeroDivisionError: \x1b[31m" in err and "\x1b" not in err and "report it" in err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)]
)
def test_a_signal_stops_the_program_with_its_code(number, code, capsys):
    before = signal.getsignal(number)

    def program() -> int:
        with when_stopped(lambda: "interrupted; go on with: --resume"):
            signal.raise_signal(number)
        return 0

    def in_a_library() -> int:
        try:
            return program()
        except KeyboardInterrupt as error:
            raise RuntimeError("an import was interrupted") from error

    def partly() -> int:
        try:
            return program()
        except KeyboardInterrupt:
            raise PartialIngestError("5 rows were written.") from None

    for each, says in (
        (program, "interrupted; go on with: --resume"),
        (in_a_library, "interrupted."),
        (partly, "5 rows"),
    ):
        assert ended(each) == code
        err = capsys.readouterr().err
        assert says in err and err.count("\n") == 1
    assert signal.getsignal(number) is before


def test_sigterm_is_told_from_ctrl_c():
    def stopped() -> int:
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)
        return 0

    assert ended(stopped) == 0


def test_signals_are_left_alone_outside_the_main_thread(capsys):
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(ended(lambda: 0)))
    thread.start()
    thread.join()
    assert codes == [0]


STUCK = """
import sys, time
from milvus_ichash.cli.ending import ended

def stuck():
    try:
        print("up", file=sys.stderr, flush=True)
        time.sleep(60)
    finally:
        print("stopping", file=sys.stderr, flush=True)
        time.sleep(60)

sys.exit(ended(stuck))
"""


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_the_program_at_once(first, second):
    with subprocess.Popen([sys.executable, "-c", STUCK], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == "up\n"
        process.send_signal(first)
        assert process.stderr.readline() == "stopping\n"
        process.send_signal(second)
        assert process.wait(10) == -second


def test_an_ignored_signal_stays_ignored():
    done = in_a_shell("trap '' TERM INT; exec \"$@\"", "methods")
    assert done.returncode == 0
    script = "import os, signal, sys; from milvus_ichash.cli.ending import ended\n"
    script += "def own(): os.kill(os.getpid(), signal.SIGTERM); return 9\nsys.exit(ended(own))"
    done = subprocess.run(
        ["bash", "-c", "trap '' TERM; exec \"$@\"", "bash", sys.executable, "-c", script], check=False
    )
    assert done.returncode == 9


def test_a_usage_error_shows_what_a_terminal_would_obey():
    done = run_here("query", "--no\x1b[31mpe\x07")
    assert refused(done, ExitCode.BAD_INPUT, r"No such option: --no\x1b[31mpe\x07")
    assert "Usage: milvus-ichash query" in done.stderr


def test_a_warning_of_the_library_shows_what_a_terminal_would_obey(capfd):
    def warns() -> int:
        logging.getLogger("milvus_ichash.bundle.reading").warning("'\x1b]52;c;eA==\x07' was written by a newer version")
        return 0

    assert ended(warns) == 0
    assert capfd.readouterr().err == r"'\x1b]52;c;eA==\x07' was written by a newer version" + "\n"
    assert not logging.getLogger("milvus_ichash").handlers


def asked(end: BaseException | None):
    def app(**how: object) -> None:
        try:
            if end is not None:
                raise end
        finally:
            raise typer.Abort from None

    return app


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        (EOFError(), ExitCode.OTHER, "nothing was done"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, "interrupted."),
        (Terminated(), ExitCode.TERMINATED, "interrupted."),
    ],
)
def test_a_question_that_gets_no_answer(end, code, says, monkeypatch):
    monkeypatch.setattr("milvus_ichash.cli.app.app", asked(end))
    assert refused(run_here(), code, says)
