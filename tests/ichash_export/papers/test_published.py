"""The published figures: the files against the papers' own text, and what their reader refuses."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ichash_export.methods import registry
from ichash_export.papers import recipes
from ichash_export.papers.published import (
    PublishedFigure,
    published_figures,
    published_table,
    published_tables,
    read_figures,
)
from milvus_ichash.errors import InputError

COUNTS = {
    "CICH II": 3 * 10 * 12,
    "CICH III": (6 + 5) * 4,
    "CICH IV": 6 * 6,
    "CICH V": 3 * 4 * 6,
    "CICH VI": 8 * 6,
    "JCPMH 1": 10 * 8,
    "JCPMH 2": 3 * 4 * 8,
    "JCPMH 3": 3 * 8,
    "PMCH 1": 2 * 11 * 12,
    "PMCH 2": 5 * 4,
    "PMCH 3": 2 * 4 * 4,
    "PMCH 4": 2 * 2 * 4,
    "PMCH 5": 2 * 4 * 4,
}
"""Cells: rows of the table times its columns."""

IN_THE_TEXT = {
    "CICH II": ("TABLE II\n", "The best performances"),
    "CICH III": ("TABLE III\n", "The bold numbers"),
    "CICH IV": ("TABLE IV\n", "The best performances"),
    "CICH V": ("TABLE V\n", '"pair": pairwise'),
    "CICH VI": ("TABLE VI\n", "(1): 'Discard'"),
    "JCPMH 1": ("Mathada MIR Flickr", "\t1 771"),
    "JCPMH 2": ("Table 2: mAPs", "The three sections in the table"),
    "JCPMH 3": ("Table 3:", "JCPMH-A and JCPMH-B are"),
    "PMCH 1": ("Task\tMethod\tMIR Flickr", "Table 1: mAP"),
    "PMCH 2": ("Method\t16bits", "Table 2: mAP"),
    "PMCH 3": ("Task\tMethod\t16bits", "Table 3: Ablation"),
    "PMCH 4": ("Table 3: Ablation", "Table 4: Ablation"),
    "PMCH 5": ("Table 4: Ablation", "Table 5: Ablation"),
}
"""What stands before and after a table in the text of its paper."""


@pytest.fixture(scope="module")
def papers() -> Path:
    """Folder with the papers' texts (ICHASH_PAPERS names another place)."""
    folder = Path(os.environ.get("ICHASH_PAPERS", Path(__file__).parents[4] / "shared" / "papers"))
    if not folder.is_dir():
        pytest.skip(f"the papers' texts are not at {folder}; set ICHASH_PAPERS to their folder")
    return folder


def _printed(papers: Path, table: str) -> str:
    before, after = IN_THE_TEXT[table]
    text = (papers / f"{table.split()[0].lower()}.txt").read_text("utf-8")
    start = text.index(before)
    return text[start : text.index(after, start)]


# ---- the papers' text


@pytest.mark.parametrize("table", COUNTS)
def test_the_numbers_are_those_of_the_text_in_its_order(papers: Path, table: str) -> None:
    printed = [float(number) for number in re.findall(r"\d+\.\d+", _printed(papers, table))]
    ours = [figure.value * (100 if figure.metric == "mAP drop" else 1) for figure in published_table(table)]
    assert ours == pytest.approx(printed, abs=1e-9)


@pytest.mark.parametrize("table", COUNTS)
def test_every_method_is_named_in_the_text_before_its_numbers(papers: Path, table: str) -> None:
    text = " ".join(re.sub(r"</?[bu]>", "", _printed(papers, table)).split())
    figures = published_table(table)
    firsts = [
        a for a, before in zip(figures, (None, *figures), strict=False) if before is None or _row(a) != _row(before)
    ]
    at = 0
    for figure in firsts:
        name = {
            "no completion": "w/o",
            "graph autoencoder": r"\+GCAE",
            "random anchors": r"\+anchors",
            "transformer": r"\+TEs",
        }.get(figure.variant, re.escape(figure.variant) if figure.variant else f"(?:{figure.method}|Ours)")
        found = re.compile(rf"(?<![A-Z]){name}[^.]*? {figure.value:.{3 if table.startswith('CICH') else 4}f} ").search(
            text + " ", at
        )
        assert found, f"{table}: {figure} is not in the text after position {at}"
        at = found.end() - 1


def _row(figure: PublishedFigure) -> tuple[object, ...]:
    """What a row of a table has in common."""
    several_sets = figure.table.startswith(("JCPMH", "PMCH"))
    task = figure.task if figure.table.startswith("PMCH") else None
    return (
        figure.method,
        figure.variant,
        figure.use,
        figure.train_pdr,
        figure.query_pdr,
        task,
        None if several_sets else figure.dataset,
    )


# ---- the tables in themselves


def test_every_cell_is_there_once() -> None:
    tables = published_tables()
    assert {name: len(figures) for name, figures in tables.items()} == COUNTS
    cells = [figure.model_copy(update={"value": 0.0}) for figures in tables.values() for figure in figures]
    assert len({str(cell) for cell in cells}) == len(cells)


def test_means_and_drops_are_those_of_the_cells_beside_them() -> None:
    cells = {
        (f.table, f.dataset, f.method, f.bits, f.level, f.task, f.metric): f.value
        for f in published_tables()["CICH II"]
    }
    odd = set()
    for (table, dataset, method, bits, level, task, metric), value in cells.items():
        if task == "mean":
            ways = [cells[table, dataset, method, bits, level, way, metric] for way in ("image->text", "text->image")]
            if abs(sum(ways) / 2 - value) > 0.00051:
                odd.add((dataset, method))
        elif metric == "mAP drop":
            easy, hard = (cells[table, dataset, method, bits, level, task, "mAP"] for level in ("easy", "hard"))
            assert value == pytest.approx(easy - hard, abs=0.0011), "differences may come from figures before rounding"
    assert odd == {("MIRFlickr-25K", "DADH"), ("MIRFlickr-25K", "DCHMT")}, "as printed"


def test_the_same_run_has_the_same_figure_in_every_table() -> None:
    """CICH repeats its Table II in V; PMCH its full method in 3, 4 and 5."""
    tables = published_tables()
    cich = {
        (f.dataset, f.level, f.task): f.value for f in tables["CICH II"] if f.method == "CICH" and f.metric == "mAP"
    }
    assert all(cich[f.dataset, f.level, f.task] == f.value for f in tables["CICH V"] if not f.variant)
    full = [[(f.task, f.bits, f.value) for f in tables[f"PMCH {n}"] if not f.variant] for n in (3, 4, 5)]
    assert full[0] == full[1] == full[2] and len(full[0]) == 8


def test_settings_are_stated_where_the_papers_state_them() -> None:
    tables = published_tables()
    for name, figures in tables.items():
        for f in figures:
            if name.startswith("CICH"):
                assert f.use and (f.level is None) == (f.metric == "mAP drop") and f.train_pdr is None
            else:
                assert f.level is None and f.use is None and f.metric == "mAP"
            if name.startswith("JCPMH"):
                assert (
                    f.train_pdr is not None and f.query_pdr is not None and (f.task == "observed") == (f.query_pdr > 0)
                )
    assert {f.method for f in tables["JCPMH 1"] if f.train_pdr} == {"SAPMH", "GCIMH", "NCH", "JCPMH"}
    assert {f.train_pdr for n in "345" for f in tables[f"PMCH {n}"]} == {0.5}
    assert {f.query_pdr for f in tables["PMCH 2"]} == {0.0} and {f.train_pdr for f in tables["PMCH 1"]} == {None}


def test_variants_are_ablations_of_the_method() -> None:
    known = registry.method_names()
    for figures in published_tables().values():
        for figure in figures:
            if figure.variant and figure.method.lower() in known:
                assert figure.variant in registry.load(figure.method.lower()).ablations, figure


def test_figures_of_a_method_come_from_all_papers() -> None:
    assert {f.table for f in published_figures("nch")} == {"PMCH 1", "JCPMH 1", "JCPMH 2"}
    assert {f.table.split()[0] for f in published_figures("dcmh")} == {"CICH"}
    cells = {(f.table, f.dataset, f.task, f.bits): f.value for f in published_figures("nch")}
    assert cells["PMCH 1", "MIRFlickr-25K", "text", 16] == 0.7590 and cells["PMCH 1", "MS COCO", "image", 128] == 0.5510
    assert published_figures("tiny") == []


# ---- what is refused


def test_an_unknown_table_is_named() -> None:
    assert published_table(" pmch  3 ") == published_tables()["PMCH 3"]
    with pytest.raises(
        InputError, match=r"no published table 'CICH VII'; there are: CICH II, .*PMCH 5\. Did you mean 'CICH VI'\?"
    ):
        published_table("CICH VII")


HEADER = "table,page,dataset,method,variant,bits,train_pdr,query_pdr,level,use,task,metric,value\n"
GOOD = "3,6,MIRFlickr-25K,PMCH,MLP,32,0.5,,,,text,mAP,0.7598\n"


def test_a_file_of_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a wheel the files are inside the package, beside its recipes."""
    monkeypatch.setattr(recipes, "__file__", str(tmp_path / "papers" / "recipes.py"))
    path = tmp_path / "recipes" / "tiny" / "published.csv"
    path.parent.mkdir(parents=True)
    path.write_text(HEADER + GOOD)
    (figure,) = published_table("tiny 3")
    assert (figure.table, figure.page, figure.variant, figure.train_pdr, figure.query_pdr) == (
        "TINY 3",
        6,
        "MLP",
        0.5,
        None,
    )
    assert figure.value == 0.7598


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("0.7598", "75.98"),
            r"published\.csv', line 2: value: Input should be less than or equal to 1 \(got '75.98'\)",
        ),
        (("value", "valu"), r"line 2 has no 'valu': did you mean 'value'\?"),
        (("table,", "tables,"), r"line 2 has no 'tables': did you mean 'table'\?"),
        ((",mAP,0.7598", ",mAP"), "line 2: expected the 13 columns"),
        (("0.7598", "0.7598,"), "line 2: expected the 13 columns"),
        ((",,,,text", ",,harder,,text"), r"level: Input should be 'easy', 'medium' or 'hard' \(got 'harder'\)"),
        (("PMCH", ""), "line 2: method: Field required"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "published.csv"
    path.write_text((HEADER + GOOD).replace(*change))
    with pytest.raises(InputError, match=message):
        list(read_figures(path))
