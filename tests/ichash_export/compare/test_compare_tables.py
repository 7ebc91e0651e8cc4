"""Lines into rows: means and deviations over the seeds, and the columns that say something."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ichash_export.compare import plots
from ichash_export.compare.tables import groups, rows, tasks
from milvus_ichash.errors import InputError


def line(method: str = "tiny", seed: int = 0, **changed: Any) -> dict[str, Any]:
    cell = {
        "data": "items",
        "method": method,
        "variant": "full",
        "bits": 16,
        "pdr": 0.5,
        "level": None,
        "query_pdr": 0.0,
    }
    cell |= {"use": "complete", "unseen_share": None, "unseen": [], "labelled": 1.0, "seed": seed}
    figures = {
        "map": {"both": 0.5 + 0.1 * seed, "image": 0.4},
        "random": {"both": 0.2, "image": 0.3},
        "seconds": 10.0 + seed,
        "cpu_seconds": 20.0 + seed,
    }
    return {**cell, **figures, **changed}


def test_means_and_deviations_over_seeds() -> None:
    lines = [line(seed=seed) for seed in range(3)] + [line(bits=32)]
    found = groups(lines)
    assert [len(group.lines) for group in found] == [3, 1]
    first, second = rows(found, numbers=True)
    assert first["both"] == pytest.approx(0.6)
    assert first["both std"] == pytest.approx(statistics.stdev([0.5, 0.6, 0.7]))
    assert (first["seconds"], first["CPU seconds"], first["runs"], first["PDR"]) == (11.0, 21.0, 3, 0.5)
    assert first["random"] == pytest.approx(0.25)
    assert (second["both"], second["both std"], second["bits"]) == (0.5, None, 32)
    people = rows(found, numbers=False)
    assert [row["both"] for row in people] == ["0.600 ± 0.100", "0.500"]
    assert [row["image"] for row in people] == ["0.400 ± 0.000", "0.400"]
    assert (people[0]["random"], people[0]["seconds"], people[0]["PDR"]) == ("0.250", 11, "0.5")


def test_agreement_is_shown_of_those_that_have_it() -> None:
    found = groups([line("one", agreement=0.8), line("one", seed=1, agreement=0.9), line("other")])
    assert [row["agreement"] for row in rows(found, numbers=True)] == [pytest.approx(0.85), None]
    assert [row["agreement"] for row in rows(found, numbers=False)] == ["0.850", ""]
    assert "agreement" not in rows(found[1:], numbers=False)[0]


def test_kept_epochs_and_failed_runs_have_columns_where_there_are_any() -> None:
    failed = {name: value for name, value in line(seed=2).items() if name not in ("map", "random")}
    lines = [line(kept_epoch=7), line(seed=1, kept_epoch=9), line("lsh"), failed, {**failed, "method": "nch"}]
    found = rows(groups(lines), numbers=True)
    assert [(row["method"], row["kept epoch"], row["runs"], row["failed"]) for row in found] == [
        ("tiny", [7, 9], 2, 1),
        ("lsh", [], 1, 0),
        ("nch", [], 0, 1),
    ]
    words = rows(groups(lines), numbers=False)
    assert [(row["kept epoch"], row["both"]) for row in words] == [("7, 9", "0.550 ± 0.071"), ("", "0.500"), ("", "")]


def test_tasks_of_both_families_stand_side_by_side() -> None:
    cross = line("cross", map={"image->text": 0.3}, random={"image->text": 0.1})
    found = groups([line(), cross])
    assert tasks(found) == ["both", "image", "image->text"]
    fused_row, cross_row = rows(found, numbers=True)
    assert (fused_row["image->text"], cross_row["both"], cross_row["image->text"], cross_row["random"]) == (
        None,
        None,
        0.3,
        0.1,
    )


def test_columns_that_say_nothing_are_left_out() -> None:
    assert list(rows(groups([line()]), numbers=False)[0]) == [
        *("method", "variant", "bits", "PDR", "both", "image", "random", "seconds", "CPU seconds", "runs"),
    ]
    lines = [line(level="easy", pdr=0.0, query_pdr=0.3, use="extend", unseen=["cat"], labelled=0.1)]
    row = rows(groups(lines), numbers=False)[0]
    assert "PDR" not in row
    assert (row["level"], row["query PDR"], row["use"], row["unseen"], row["labelled"]) == (
        "easy",
        "0.3",
        "extend",
        "cat",
        "0.1",
    )


def test_classes_drawn_by_each_seed_are_one_group_and_named_ones_are_not() -> None:
    drawn = [line(seed=seed, unseen=[f"class {seed}"], unseen_share=0.25) for seed in range(3)]
    assert len(groups(drawn)) == 1
    assert rows(groups(drawn), numbers=False)[0]["unseen"] == "0.25 of the classes"
    assert len(groups([{**each, "unseen_share": None} for each in drawn])) == 3


@pytest.mark.slow
def test_figures_show_every_contender_condition_and_deviation(tmp_path: Path) -> None:
    lines = [
        line(m, seed, bits=b, pdr=p)
        for m in ("tiny", "cosine")
        for seed in (0, 1)
        for b in (16, 32)
        for p in (0.1, 0.5)
    ]
    lines += [
        line("cross", bits=b, map={"image->text": 0.3}, random={"image->text": 0.1}, level="easy", pdr=0.0)
        for b in (16, 32)
    ]
    found = groups(lines)
    for draw, name in ((plots.against_pdr, "pdr.png"), (plots.against_bits, "bits.svg")):
        draw(found, tmp_path / name)
    assert (tmp_path / "pdr.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "bits.svg").read_text("utf-8")
    for part in (
        "tiny, PDR 0.1",
        "tiny, PDR 0.5",
        "cosine, PDR 0.5",
        "cross, PDR 0, easy",
        "random order",
        "image → text",
        "both",
    ):
        assert f"<!-- {part} -->" in text, part
    assert "tiny, PDR 0.1, easy" not in text


def test_what_is_drawn() -> None:
    from matplotlib.container import ErrorbarContainer

    found = groups([line(seed=seed, pdr=pdr) for pdr in (0.9, 0.1) for seed in (0, 1)])
    figure = plots._panels(found, "PDR", "pdr")
    both, image = figure.axes
    (bars,) = [c for c in both.containers if isinstance(c, ErrorbarContainer)]
    np.testing.assert_allclose(bars.lines[0].get_xydata(), [[0.1, 0.55], [0.9, 0.55]])
    low, high = bars.lines[1]
    heights = high.get_ydata() - low.get_ydata()
    np.testing.assert_allclose(heights.astype(float), 2 * statistics.stdev([0.5, 0.6]))
    np.testing.assert_allclose(both.lines[-1].get_xydata(), [[0.1, 0.2], [0.9, 0.2]])
    assert image.get_title() == "image"


def test_shares_of_labels_are_lines_of_their_own() -> None:
    found = groups([line(pdr=pdr, labelled=share) for share in (0.1, 1.0) for pdr in (0.9, 0.1)])
    drawn = plots._lines(found, "pdr")
    assert [each.name for each in drawn] == ["tiny, labelled 0.1", "tiny, labelled 1"]
    assert all(len(each.groups) == 2 for each in drawn)


NEEDS_PDRS = "--figure-pdr needs several --pdr"


@pytest.mark.parametrize(("name", "values"), [(None, []), ("a.png", [0.1, 0.5])])
def test_figures_that_can_be_drawn(tmp_path: Path, name: str | None, values: list[float]) -> None:
    plots.check(name and tmp_path / name, values, NEEDS_PDRS)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda folder: plots.check(folder / "a.png", [0.1], NEEDS_PDRS), f"{NEEDS_PDRS}: a line needs two values"),
        (lambda folder: plots.check(folder / "a.jpeg", [0.1, 0.5], ""), "a figure ends in"),
        (
            lambda folder: plots.against_pdr(groups([line(level="easy")]), folder / "a.png"),
            "no run that the figure could show",
        ),
    ],
    ids=["one value", "no format", "no run"],
)
def test_figures_that_cannot_be_drawn(tmp_path: Path, draw: Callable[[Path], None], message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw(tmp_path)
