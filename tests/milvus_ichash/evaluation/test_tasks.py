"""Which tasks there are, which queries they keep, and which rows count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.labelled_items import items

from milvus_ichash.bundle import read_manifest
from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.tasks import (
    available_tasks,
    choose_tasks,
    has_all,
    single_modality_code,
    single_modality_targets,
)

MakeBundle = Callable[..., Path]
THREE = {"image": 4, "text": 3, "sound": 2}
BOTH = ("image", "text")
CROSS = ["image_code", "text_code"]
TEXT_ONLY = single_modality_code("code", "text")
PARTS = ("observed", "all", "complete")


@pytest.mark.parametrize(
    ("bundle", "stored", "wanted", "masked", "tasks"),
    [
        ({}, ["code"], None, False, ["both", "image", "text"]),
        ({}, ["code"], None, True, ["observed"]),
        ({}, ["code"], ["text", "observed", "text"], False, ["text", "observed"]),
        ({"modalities": THREE}, ["code"], None, False, ["all", "image", "text", "sound"]),
        ({"modalities": {"image": 4}}, ["code"], None, False, ["image"]),
        ({"modalities": {"image": 4}, "fused": False}, ["image_code"], None, False, ["image->image"]),
        ({"fused": False}, CROSS, None, False, ["image->text", "text->image"]),
        ({"fused": False}, CROSS[1:], None, False, ["image->text"]),  # a collection may hold some of the codes
        ({"fused": False}, CROSS, ["text->text"], False, ["text->text"]),
        # Where there are codes of a single modality, their tasks are usual.
        ({}, ["code", TEXT_ONLY], None, False, ["both", "image", "text", "image->text"]),
        ({}, ["code", TEXT_ONLY], None, True, ["observed"]),
    ],
)
def test_the_tasks_that_stored_codes_allow(
    make_bundle: MakeBundle,
    bundle: dict[str, Any],
    stored: list[str],
    wanted: list[str] | None,
    masked: bool,
    tasks: list[str],
) -> None:
    manifest = read_manifest(make_bundle(**bundle))
    assert [task.name for task in choose_tasks(manifest, stored, wanted, masked=masked)] == tasks


def test_three_modalities_have_six_pairs(make_bundle: MakeBundle) -> None:
    cross = read_manifest(make_bundle(modalities=THREE, fused=False))
    assert len(choose_tasks(cross, [*CROSS, "sound_code"], None, masked=False)) == 6


@pytest.mark.parametrize(
    ("fused", "stored", "wanted", "message"),
    [
        (False, CROSS, ["both"], "no task 'both'; there are: image->text, text->image, image->image"),
        (False, CROSS[:1], ["image->text"], "needs 'text_code', and only image_code is stored"),
        (False, ["code"], None, "none of the bundle's codes"),
        (
            True,
            ["code", TEXT_ONLY],
            ["text->image"],
            "'text->image' searches codes made from image alone, which no collection holds: .*--via exact",
        ),
    ],
)
def test_tasks_that_cannot_be(
    make_bundle: MakeBundle, fused: bool, stored: list[str], wanted: list[str] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        choose_tasks(read_manifest(make_bundle(fused=fused)), stored, wanted, masked=False)


@pytest.mark.parametrize(
    ("fused", "name", "codes", "required"),
    [
        (False, "image->text", ("image_code", "text_code", "text"), [("text",), (), BOTH]),
        (True, "image", ("code", "code", None), [(), (), BOTH]),
        (True, "image->text", ("code", TEXT_ONLY, "text"), [("text",), ("text",), BOTH]),
    ],
)
def test_what_a_task_compares_and_which_rows_count(
    make_bundle: MakeBundle, fused: bool, name: str, codes: tuple[str, str, str | None], required: list[tuple[str, ...]]
) -> None:
    task = available_tasks(read_manifest(make_bundle(fused=fused)))[name]
    assert (task.asked, task.query_code, task.stored_code, task.target) == (("image",), *codes)
    assert [task.required(part, BOTH) for part in PARTS] == required


def test_queries_keep_only_what_is_asked_with(make_bundle: MakeBundle) -> None:
    tasks = available_tasks(read_manifest(make_bundle()))
    table = items(50, gaps=0.5)
    image, text = table.present.T
    both, only = (tasks[name].queries(table) for name in ("both", "image"))
    np.testing.assert_equal((both.ids, only.ids), (table.ids[image & text], table.ids[image]))
    assert only.present.tolist() == [[True, False]] * int(image.sum())
    assert tasks["observed"].queries(table) is table
    # A file without the modality has no such queries.
    assert len(tasks["text"].queries(items(5, dims={"image": 12}))) == 0


@pytest.mark.parametrize(
    ("needed", "rows"), [(("text",), [True, False, True]), ((), [True] * 3), (BOTH, [True, False, False])]
)
def test_rows_that_have_some_modalities(needed: tuple[str, ...], rows: list[bool]) -> None:
    present = np.array([[True, True], [True, False], [False, True]])
    assert has_all(present, BOTH, needed).tolist() == rows


def test_the_modalities_that_tasks_need_codes_of(make_bundle: MakeBundle) -> None:
    manifest = read_manifest(make_bundle(modalities=THREE))
    assert len([task for task in available_tasks(manifest).values() if task.single_modality]) == 6
    asked = ["image->text", "sound->text", "all", "text->image", "nothing"]
    assert single_modality_targets(manifest, asked, THREE, masked=False) == ("text", "image")
    assert single_modality_targets(read_manifest(make_bundle(fused=False)), asked[:1], BOTH, masked=False) == ()
    usual = [
        single_modality_targets(manifest, (), there, masked=masked)
        for there, masked in ((THREE, False), (("text",), False), (THREE, True))
    ]
    assert [sorted(targets) for targets in usual] == [["image", "sound", "text"], ["text"], []]
    assert (
        single_modality_targets(read_manifest(make_bundle(modalities={"image": 4})), (), ["image"], masked=False) == ()
    )
