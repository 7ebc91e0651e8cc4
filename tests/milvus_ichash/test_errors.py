"""Every error has the exit code that DESIGN gives it, and stays catchable as the Python error it is a kind of."""

from __future__ import annotations

import pytest

from milvus_ichash import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.IchashError, 2),
        (errors.InputError, 2),
        (errors.MilvusError, 3),
        (errors.MismatchError, 4),
        (errors.PartialIngestError, 5),
        (errors.BackendMissingError, 6),
        (errors.OutputError, 7),
        (errors.ReaderGoneError, 141),
    ],
)
def test_exit_codes(error, code):
    assert issubclass(error, errors.IchashError)
    assert error.exit_code == code
    assert str(error("what, where, what next")) == "what, where, what next"


def test_bad_input_is_a_value_error_and_a_missing_backend_an_import_error():
    assert issubclass(errors.InputError, ValueError)
    assert issubclass(errors.BackendMissingError, ImportError)


def test_sigterm_stops_whatever_ctrl_c_stops():
    assert issubclass(errors.Terminated, KeyboardInterrupt)


def test_every_exit_code_says_what_it_means():
    assert [int(code) for code in errors.ExitCode] == [0, 1, 2, 3, 4, 5, 6, 7, 130, 141, 143]
    assert all(code.meaning for code in errors.ExitCode)
