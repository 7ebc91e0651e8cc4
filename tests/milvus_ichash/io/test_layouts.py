"""The field's layouts: NCH, Wikipedia, EGICH and DCMH style, in v5, v7.3 and npz, with their splits and numbering."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.array_files import Save, save_h5, save_npz, save_v5, save_v73

from milvus_ichash.errors import InputError
from milvus_ichash.io import ColumnNames, Holdout, open_source, open_splits

pytest.importorskip("h5py")
pytest.importorskip("scipy")


ANY_FORMAT = pytest.mark.parametrize("save", [save_npz, save_v5, save_v73, save_h5])
ROWS = {"train": 6, "retrieval": 9, "query": 4}
DIMS = {"image": 5, "text": 7}
TWO = {"retrieval": "db", "query": "te"}
ALL = TWO | {"train": "tr"}


def parts(seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {
        split: {
            "image": rng.random((n, 5)),
            "text": rng.random((n, 7)),
            "labels": rng.integers(0, 2, (n, 3)).astype(np.uint8),
        }
        for split, n in ROWS.items()
    }


def nch(data: dict, splits: dict) -> dict[str, np.ndarray]:
    letters = {"image": "I", "text": "T", "labels": "L"}
    return {f"{letters[column]}_{short}": x for split, short in splits.items() for column, x in data[split].items()}


def egich(data: dict) -> dict[str, np.ndarray]:
    stems = {"image": "Img", "text": "Tag", "labels": "Lab"}
    ends = {"train": "Train", "retrieval": "DataBase", "query": "Query"}
    return {f"{stems[column]}{ends[split]}": x for split in data for column, x in data[split].items()}


def check(source, data: dict[str, np.ndarray]) -> None:
    table = source.read()
    assert list(source.info.dims.items()) == list(DIMS.items())
    np.testing.assert_equal(table.features, {name: data[name].astype(np.float32) for name in table.modalities})
    np.testing.assert_equal((table.modalities, table.labels), (("image", "text"), data["labels"]))


@ANY_FORMAT
@pytest.mark.parametrize("style", ["nch", "egich"])
def test_three_splits(tmp_path, save, style):
    data = parts()
    file = save(
        tmp_path / "set",
        **(nch(data, ALL) if style == "nch" else egich(data)),
    )
    splits = open_splits(file)
    assert splits.keys() == {"all", "query", "retrieval", "train"}
    for split, n in ROWS.items():
        assert splits[split].info.rows == n
        check(splits[split], data[split])
    # Without ids in the file a number means one item only: retrieval, then queries, then training.
    numbers = [splits[split].read().ids.tolist() for split in ("retrieval", "query", "train")]
    assert numbers == [list(range(9)), list(range(9, 13)), list(range(13, 19))]


@ANY_FORMAT
def test_all_is_retrieval_and_then_query(tmp_path, save):
    data = parts()
    file = save(tmp_path / "set", **nch(data, ALL))
    both = {column: np.concatenate([data["retrieval"][column], data["query"][column]]) for column in data["query"]}
    source = open_source(file)
    check(source, both)
    assert source.info.rows == 13
    assert source.read().ids.tolist() == np.concatenate(list(source.ids())).tolist() == list(range(13))
    for start in (0, 4, 9, 11, 13):
        batches = [(batch.first_row, batch.ids.tolist()) for batch in source.batches(5, start=start)]
        assert batches == [(k, list(range(k, min(k + 5, 13)))) for k in range(start, 13, 5)]


@ANY_FORMAT
@pytest.mark.parametrize("one_column", [True, False])
def test_wikipedia_style_trains_on_the_retrieval_set(tmp_path, save, one_column):
    data = {split: x for split, x in parts().items() if split != "retrieval"}
    classes = {"train": np.array([1, 2, 3, 4, 1, 2]), "query": np.array([2, 2, 3, 1])}  # no 4 among the queries
    for split, x in data.items():
        x["labels"] = classes[split].astype(float) if one_column else np.eye(4, dtype=np.uint8)[classes[split] - 1]
    file = save(tmp_path / "wiki", **nch(data, {"train": "tr", "query": "te"}))
    for split, same_as in (("train", "train"), ("retrieval", "train"), ("query", "query")):
        source = open_source(file, split=split)
        assert (source.info.classes, source.info.label_names) == (4, ("1", "2", "3", "4") if one_column else None)
        check(source, data[same_as] | {"labels": np.eye(4)[classes[same_as] - 1]})
    ids = {split: source.read().ids.tolist() for split, source in open_splits(file).items() if split != "all"}
    assert ids == {"train": list(range(6)), "retrieval": list(range(6)), "query": [6, 7, 8, 9]}


def test_train_as_row_numbers_of_the_retrieval_set_and_other_columns(tmp_path):
    data = parts()
    arrays = nch(data, TWO) | {
        "id_db": np.array([f"r{k}" for k in range(9)]),
        "id_te": np.array([f"q{k}" for k in range(4)]),
        "text_db": np.array([f"words {k}" for k in range(9)]),
        "text_te": np.array([f"words {k}" for k in range(4)]),
        "only_db": np.arange(9),
        "labels": np.array(["a", "b", "c"]),
        "vocab": np.array([f"w{k}" for k in range(7)]),
        "train": np.array([7, 2, 3]),
    }
    file = save_npz(tmp_path / "set", **arrays)
    source = open_source(file, split="train")
    assert (source.info.rows, source.info.label_names, source.info.payload) == (3, ("a", "b", "c"), ("text",))
    check(source, {column: x[[2, 3, 7]] for column, x in data["retrieval"].items()})
    assert source.read().payload["text"] == ["words 2", "words 3", "words 7"]
    assert {split: one.read().ids.tolist() for split, one in open_splits(file).items()} == {
        "train": ["r2", "r3", "r7"],
        "retrieval": arrays["id_db"].tolist(),
        "query": ["q0", "q1", "q2", "q3"],
        "all": [*arrays["id_db"], *arrays["id_te"]],
    }


def test_without_training_features_or_rows_the_retrieval_set_trains(tmp_path):
    check(open_source(save_npz(tmp_path / "set", **nch(parts(), TWO)), split="train"), parts()["retrieval"])


@pytest.mark.parametrize(
    ("splits", "options", "message"),
    [
        ({"train": "tr", "retrieval": "db"}, {}, r"has no 'query' split; it has: retrieval, train"),
        (TWO, {"holdout": Holdout(2)}, "splits of its own"),
    ],
)
def test_splits_that_cannot_be_had(tmp_path, splits, options, message):
    file = save_npz(tmp_path / "set", **nch(parts(), splits))
    with pytest.raises(InputError, match=message):
        open_source(file, split="query", **options)


def test_a_third_modality_is_called_by_its_letter_or_as_the_caller_says(tmp_path):
    arrays = nch(parts(), TWO) | {"P_db": np.ones((9, 2)), "P_te": np.ones((4, 2))}
    file = save_npz(tmp_path / "set", **arrays)
    assert open_source(file).info.dims == {"image": 5, "text": 7, "p": 2}
    named = open_source(file, split="query", columns=ColumnNames(modalities={"pixels": "P", "words": "T"}))
    assert named.info.dims == {"pixels": 2, "words": 7}
    with pytest.raises(InputError, match="no column 'Q' for the modality 'x'; columns: I, T, L, P"):
        open_source(file, columns=ColumnNames(modalities={"x": "Q"}))


def test_a_split_that_lacks_a_modality_or_labels_has_gaps_there(tmp_path):
    arrays = nch(parts(), TWO)
    del arrays["I_te"], arrays["L_te"]
    query = open_source(save_npz(tmp_path / "set", **arrays), split="query").read()
    assert (query.dims, query.present.tolist()) == (DIMS, [[False, True]] * 4)
    assert (query.labels.shape, query.labelled.tolist()) == ((4, 3), [False] * 4)
    both = open_source(tmp_path / "set.npz").read()
    assert (both.present.sum(axis=0).tolist(), both.labelled.sum()) == ([9, 13], 9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"I_te": np.ones((4, 4))}, "'I' differs in size between splits: retrieval 5, query 4"),
        ({"I_te": np.ones((3, 5))}, r"disagree in their number of rows: I \(3, 5\), T \(4, 7\), L \(4, 3\)"),
        ({"L_te": np.ones((4, 2))}, "labels of the splits differ in shape"),
        ({"id_db": np.arange(9)}, "the query split has no ids"),
        (
            {"T_te": np.where(np.eye(4, 7, -2), np.inf, 1.0)},
            r"set\.npz \(query\): row 2 \(id 11\) has NaN or infinity in 'text'",
        ),
        ({"train": np.array([0, 9])}, "row number 9; the retrieval split has rows 0 to 8"),
        ({"train": np.array([-1])}, "row number -1"),
        ({"train": np.array([])}, "shape"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, message):
    file = save_npz(tmp_path / "set", **(nch(parts(), TWO) | changes))
    with pytest.raises(InputError, match=message):
        open_source(file).read()


def dcmh(folder: Path, name: str = "flickr", **arrays: np.ndarray) -> dict[str, Path]:
    saver: dict[int, Save] = {4: save_v73}
    return {
        key: saver.get(x.ndim, save_v5)(folder / f"{name}-{key.lower()}.mat", **{key: x}) for key, x in arrays.items()
    }


@pytest.fixture
def flickr() -> dict[str, np.ndarray]:
    """Features of images, words and labels in DCMH style."""
    data = parts()["retrieval"]
    return {"FAll": data["image"], "YAll": data["text"], "LAll": data["labels"]}


PICTURES = np.zeros((9, 3, 8, 8), np.uint8)


def test_dcmh_style_files_are_found_from_any_of_them_and_from_their_folder(tmp_path, flickr):
    for path in (*dcmh(tmp_path, **flickr).values(), tmp_path):
        splits = open_splits(path)
        assert splits.keys() == {"all"}
        check(splits["all"], parts()["retrieval"])


@pytest.mark.parametrize("save", [save_v5, save_v73])
def test_dcmh_style_in_one_file(tmp_path, flickr, save):
    check(open_source(save(tmp_path / "a", IAll=PICTURES, **flickr)), parts()["retrieval"])


def test_dcmh_style_without_images_has_text_only(tmp_path, flickr):
    del flickr["FAll"]
    table = open_source(dcmh(tmp_path, **flickr)["LAll"]).read()
    np.testing.assert_equal((table.dims, table.labels), ({"text": 7}, flickr["LAll"]))


def test_dcmh_style_raw_pictures_are_refused_but_not_needed(tmp_path, flickr):
    features = flickr.pop("FAll")
    for path in (*dcmh(tmp_path, IAll=PICTURES, **flickr).values(), tmp_path):
        with pytest.raises(
            InputError, match=r"'IAll' has shape \(9, 3, 8, 8\), which looks like raw pictures; features are wanted"
        ):
            open_source(path)
    assert open_source(tmp_path, columns=ColumnNames(modalities={"text": "YAll"})).info.dims == {"text": 7}
    dcmh(tmp_path, FAll=features)
    check(open_source(tmp_path), parts()["retrieval"])


def test_dcmh_style_features_called_iall(tmp_path, flickr):
    dcmh(tmp_path, IAll=flickr.pop("FAll"), **flickr)
    check(open_source(tmp_path), parts()["retrieval"])


def test_folders_that_hold_no_data_set_or_several(tmp_path, flickr):
    with pytest.raises(InputError, match=r"is a folder; .* it holds none"):
        open_source(tmp_path)
    dcmh(tmp_path, "flickr", YAll=flickr["YAll"])
    files = dcmh(tmp_path, "nus", YAll=flickr["YAll"], LAll=flickr["LAll"])
    with pytest.raises(InputError, match=r"2 data sets \(flickr, nus\)"):
        open_source(tmp_path)
    assert open_source(files["YAll"]).info.classes == 3


def test_labels_alone_are_no_features(tmp_path, flickr):
    with pytest.raises(InputError, match="no column of feature vectors"):
        open_source(dcmh(tmp_path, LAll=flickr["LAll"])["LAll"])


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.array(3), "differ in shape|number of rows"),
        (np.array(["a", "b"]), "of some splits are names, and those of others numbers"),
    ],
)
def test_labels_of_splits_that_do_not_belong_together(tmp_path: Path, labels: Any, says: str) -> None:
    matrix = np.ones((2, 3))
    file = save_npz(tmp_path / "x", I_tr=matrix, I_te=matrix, L_tr=np.array([0, 1]), L_te=labels)
    with pytest.raises(InputError, match=says):
        open_splits(file)
