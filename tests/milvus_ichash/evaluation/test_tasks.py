"""Which tasks there are, which queries they keep, and which rows take part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.labelled_items import items

from milvus_ichash.bundle import Manifest, read_manifest
from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.tasks import (
    available_tasks,
    choose_tasks,
    has_all,
    single_modality_code,
    single_modality_targets,
)

MakeBundle = Callable[..., Path]


def names(manifest: Manifest, stored: list[str], wanted: list[str] | None = None, *, masked: bool = False) -> list[str]:
    return [task.name for task in choose_tasks(manifest, stored, wanted, masked=masked)]


def test_fused_codes_are_asked_with_all_modalities_and_with_each(make_bundle: MakeBundle) -> None:
    manifest = read_manifest(make_bundle())
    assert names(manifest, ["code"]) == ["both", "image", "text"]
    assert names(manifest, ["code"], masked=True) == ["observed"]
    assert names(manifest, ["code"], ["text", "observed", "text"]) == ["text", "observed"]


def test_three_modalities_and_one(make_bundle: MakeBundle) -> None:
    three = {"image": 4, "text": 3, "sound": 2}
    assert names(read_manifest(make_bundle(modalities=three)), ["code"]) == ["all", "image", "text", "sound"]
    cross = read_manifest(make_bundle(modalities=three, fused=False))
    assert len(names(cross, ["image_code", "text_code", "sound_code"])) == 6
    assert names(read_manifest(make_bundle(modalities={"image": 4})), ["code"]) == ["image"]
    assert names(read_manifest(make_bundle(modalities={"image": 4}, fused=False)), ["image_code"]) == ["image->image"]


def test_cross_modal_codes_are_asked_from_one_to_the_other(make_bundle: MakeBundle) -> None:
    manifest = read_manifest(make_bundle(fused=False))
    assert names(manifest, ["image_code", "text_code"]) == ["image->text", "text->image"]
    assert names(manifest, ["text_code"]) == ["image->text"], "a collection may hold some of the codes"
    assert names(manifest, ["image_code", "text_code"], ["text->text"]) == ["text->text"]
    task = available_tasks(manifest)["image->text"]
    assert (task.asked, task.query_code, task.stored_code, task.target) == (
        ("image",),
        "image_code",
        "text_code",
        "text",
    )


def test_tasks_that_cannot_be(make_bundle: MakeBundle) -> None:
    manifest = read_manifest(make_bundle(fused=False))
    with pytest.raises(
        InputError, match="no task 'both' for this bundle; there are: image->text, text->image, image->image"
    ):
        names(manifest, ["image_code", "text_code"], ["both"])
    with pytest.raises(InputError, match="needs 'text_code', and only image_code is stored"):
        names(manifest, ["image_code"], ["image->text"])
    with pytest.raises(InputError, match="none of the bundle's codes"):
        names(manifest, ["code"])


def test_queries_keep_only_what_is_asked_with(make_bundle: MakeBundle) -> None:
    tasks = available_tasks(read_manifest(make_bundle()))
    table = items(50, gaps=0.5)
    image, text = table.present.T
    assert np.array_equal(tasks["both"].queries(table).ids, table.ids[image & text])
    only = tasks["image"].queries(table)
    assert np.array_equal(only.ids, table.ids[image]) and only.present.tolist() == [[True, False]] * int(image.sum())
    assert tasks["observed"].queries(table) is table
    assert len(tasks["text"].queries(items(5, dims={"image": 12}))) == 0, (
        "a file without the modality has no such queries"
    )


def test_rows_that_take_part(make_bundle: MakeBundle) -> None:
    cross = available_tasks(read_manifest(make_bundle(fused=False)))["image->text"]
    fused = available_tasks(read_manifest(make_bundle()))["image"]
    both = ("image", "text")
    assert [cross.required(part, both) for part in ("observed", "all", "complete")] == [("text",), (), both]
    assert [fused.required(part, both) for part in ("observed", "all", "complete")] == [(), (), both]
    present = np.array([[True, True], [True, False], [False, True]])
    assert has_all(present, both, ("text",)).tolist() == [True, False, True]
    assert has_all(present, both, ()).all()
    assert has_all(present, both, both).tolist() == [True, False, False]


def test_a_fused_code_may_be_searched_for_what_one_modality_alone_makes(make_bundle: MakeBundle) -> None:
    manifest = read_manifest(make_bundle())
    stored = ["code", single_modality_code("code", "text")]
    assert names(manifest, stored) == ["both", "image", "text", "image->text"], "usual where such codes are there"
    assert names(manifest, stored, masked=True) == ["observed"]
    task = available_tasks(manifest)["image->text"]
    assert (task.asked, task.query_code, task.stored_code, task.target) == (("image",), "code", stored[1], "text")
    assert [task.required(part, ("image", "text")) for part in ("observed", "all", "complete")] == [
        ("text",),
        ("text",),
        ("image", "text"),
    ]
    with pytest.raises(
        InputError,
        match=r"'text->image' searches codes made from image alone, which no collection holds: .*--via exact",
    ):
        names(manifest, stored, ["text->image"])


def test_what_has_to_be_coded_alone(make_bundle: MakeBundle) -> None:
    manifest = read_manifest(make_bundle(modalities={"image": 4, "text": 3, "sound": 2}))
    assert len([task for task in available_tasks(manifest).values() if task.single_modality]) == 6
    assert single_modality_targets(manifest, ["image->text", "sound->text", "all", "text->image", "nothing"]) == (
        "text",
        "image",
    )
    assert single_modality_targets(read_manifest(make_bundle(fused=False)), ["image->text"]) == ()
