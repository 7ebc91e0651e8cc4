"""Values of options, as people write them."""

from __future__ import annotations

import pytest

from milvus_ichash.cli.option_values import COLOURS, colours, each_listed, with_commas
from milvus_ichash.errors import InputError


def test_three_colours():
    assert colours("0.5,.25, 1e-1", "--picture-mean") == (0.5, 0.25, 0.1)
    assert colours(None, "--picture-mean") is None


@pytest.mark.parametrize(
    "text", ["", "0.5", "0.5,0.5", "1,2,3,4", "a,b,c", "0.5,,0.5", "nan,0,0", "0,inf,0", "0.5 0.5 0.5"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(InputError, match=r"--picture-std takes a number for red, green and blue.*0.5,0.5,0.5; got"):
        colours(text, "--picture-std")


@pytest.mark.parametrize(
    ("words", "with_them"),
    [
        (["--picture-mean", ".5", ".6", ".7", "x"], ["--picture-mean", ".5,.6,.7", "x"]),
        (
            ["--picture-mean", "0", "0", "0", "--picture-std", "1", "1", "1"],
            ["--picture-mean", "0,0,0", "--picture-std", "1,1,1"],
        ),
        (["a", "--picture-mean", ".5,.5,.5", "--out", "1"], ["a", "--picture-mean", ".5,.5,.5", "--out", "1"]),
        (["--picture-mean", "1", "2"], ["--picture-mean", "1", "2"]),
        (["--other", "1", "2", "3"], ["--other", "1", "2", "3"]),
        ([], []),
    ],
)
def test_spaces_between_colours_become_commas(words, with_them):
    assert with_commas(words, COLOURS) == with_them


def test_an_option_with_several_values_takes_them_at_once_or_one_by_one():
    assert each_listed(["10,50", "5", "10"], int, "--at-k", "10,50") == [10, 50, 5]
    assert each_listed(None, int, "--at-k", "10,50") == []
    for text in ("ten", "", "10,ten", "1.5"):
        with pytest.raises(InputError, match="--at-k takes values with commas between them, such as 10,50"):
            each_listed(["3", text], int, "--at-k", "10,50")
