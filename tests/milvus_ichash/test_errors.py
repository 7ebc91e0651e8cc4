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


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    errors.check_can_be_folder(tmp_path, "the run")
    errors.check_can_be_folder(tmp_path / "a" / "b", "the run")
    for name in ("file", "link"):
        for folder in (tmp_path / name, tmp_path / name / "b" / "c"):
            with pytest.raises(
                errors.InputError, match=f"the run '{folder}' cannot be a folder: '{tmp_path / name}' is"
            ):
                errors.check_can_be_folder(folder, "the run")
