"""The field's layouts: NCH, Wikipedia, EGICH and DCMH style, in v5, v7.3 and npz, with their splits and numbering."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from milvus_ichash.errors import InputError
from milvus_ichash.io import ColumnNames, Holdout, open_source, open_splits

h5py = pytest.importorskip("h5py")
scipy_io = pytest.importorskip("scipy.io")


def save_npz(path: Path, arrays: dict) -> Path:
    np.savez(path.with_suffix(".npz"), **arrays)
    return path.with_suffix(".npz")


def save_v5(path: Path, arrays: dict) -> Path:
    scipy_io.savemat(path.with_suffix(".mat"), {name: x[:, None] if x.ndim == 1 else x for name, x in arrays.items()})
    return path.with_suffix(".mat")


def save_v73(path: Path, arrays: dict) -> Path:
    with h5py.File(path.with_suffix(".mat"), "w", userblock_size=512) as file:
        for name, x in arrays.items():
            file[name] = (x[:, None] if x.ndim == 1 else x).T
    return path.with_suffix(".mat")


def save_h5(path: Path, arrays: dict) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        for name, x in arrays.items():
            file[name] = x
    return path.with_suffix(".h5")


ANY_FORMAT = pytest.mark.parametrize("save", [save_npz, save_v5, save_v73, save_h5])
ROWS = {"train": 6, "retrieval": 9, "query": 4}
DIMS = {"image": 5, "text": 7}


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
    assert table.modalities == ("image", "text")
    assert source.info.dims == DIMS
    for name in ("image", "text"):
        assert np.array_equal(table.features[name], data[name].astype(np.float32))
    assert np.array_equal(table.labels, data["labels"])


@ANY_FORMAT
@pytest.mark.parametrize("style", ["nch", "egich"])
def test_three_splits(tmp_path, save, style):
    data = parts()
    file = save(
        tmp_path / "set",
        nch(data, {"train": "tr", "retrieval": "db", "query": "te"}) if style == "nch" else egich(data),
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
    file = save(tmp_path / "set", nch(data, {"train": "tr", "retrieval": "db", "query": "te"}))
    both = {column: np.concatenate([data["retrieval"][column], data["query"][column]]) for column in data["query"]}
    source = open_source(file)
    assert source.info.rows == 13
    check(source, both)
    assert source.read().ids.tolist() == list(range(13))
    assert np.concatenate(list(source.ids())).tolist() == list(range(13))
    for start in (0, 4, 9, 11, 13):
        batches = list(source.batches(5, start=start))
        assert [len(batch) for batch in batches] == [min(5, 13 - k) for k in range(start, 13, 5)]
        assert [batch.first_row for batch in batches] == list(range(start, 13, 5))
        assert [i for batch in batches for i in batch.ids] == list(range(start, 13))


@ANY_FORMAT
@pytest.mark.parametrize("one_column", [True, False])
def test_wikipedia_style_trains_on_the_retrieval_set(tmp_path, save, one_column):
    data = {split: x for split, x in parts().items() if split != "retrieval"}
    classes = {"train": np.array([1, 2, 3, 4, 1, 2]), "query": np.array([2, 2, 3, 1])}  # no 4 among the queries
    for split, x in data.items():
        x["labels"] = classes[split].astype(float) if one_column else np.eye(4, dtype=np.uint8)[classes[split] - 1]
    file = save(tmp_path / "wiki", nch(data, {"train": "tr", "query": "te"}))
    for split, same_as in (("train", "train"), ("retrieval", "train"), ("query", "query")):
        source = open_source(file, split=split)
        assert (source.info.classes, source.info.label_names) == (4, ("1", "2", "3", "4") if one_column else None)
        check(source, data[same_as] | {"labels": np.eye(4)[classes[same_as] - 1]})
    assert (
        open_source(file, split="train").read().ids.tolist() == open_source(file, split="retrieval").read().ids.tolist()
    )
    assert open_source(file, split="query").read().ids.tolist() == [6, 7, 8, 9]


def test_train_as_row_numbers_of_the_retrieval_set_and_other_columns(tmp_path):
    data = parts()
    arrays = nch(data, {"retrieval": "db", "query": "te"}) | {
        "id_db": np.array([f"r{k}" for k in range(9)]),
        "id_te": np.array([f"q{k}" for k in range(4)]),
        "text_db": np.array([f"words {k}" for k in range(9)]),
        "text_te": np.array([f"words {k}" for k in range(4)]),
        "only_db": np.arange(9),
        "labels": np.array(["a", "b", "c"]),
        "vocab": np.array([f"w{k}" for k in range(7)]),
        "train": np.array([7, 2, 3]),
    }
    file = save_npz(tmp_path / "set", arrays)
    source = open_source(file, split="train")
    assert (source.info.rows, source.info.label_names, source.info.payload) == (3, ("a", "b", "c"), ("text",))
    check(source, {column: x[[2, 3, 7]] for column, x in data["retrieval"].items()})
    assert source.read().ids.tolist() == ["r2", "r3", "r7"]
    assert source.read().payload["text"] == ["words 2", "words 3", "words 7"]
    assert open_source(file, split="query").read().ids.tolist() == ["q0", "q1", "q2", "q3"]
    assert open_source(file).read().ids.tolist() == [*arrays["id_db"], *arrays["id_te"]]


@pytest.mark.parametrize(
    ("train", "message"),
    [([0, 9], "row number 9; the retrieval split has rows 0 to 8"), ([-1], "row number -1"), ([], "shape")],
)
def test_training_rows_that_are_not_there(tmp_path, train, message):
    arrays = nch(parts(), {"retrieval": "db", "query": "te"}) | {"train": np.array(train)}
    with pytest.raises(InputError, match=message):
        open_source(save_npz(tmp_path / "set", arrays))


def test_without_training_features_or_rows_the_retrieval_set_trains(tmp_path):
    data = parts()
    file = save_npz(tmp_path / "set", nch(data, {"retrieval": "db", "query": "te"}))
    check(open_source(file, split="train"), data["retrieval"])


def test_a_split_that_the_file_does_not_have(tmp_path):
    file = save_npz(tmp_path / "set", nch(parts(), {"train": "tr", "retrieval": "db"}))
    with pytest.raises(InputError, match=r"has no 'query' split; it has: retrieval, train"):
        open_source(file, split="query")


def test_a_holdout_of_a_file_with_splits_is_refused(tmp_path):
    file = save_npz(tmp_path / "set", nch(parts(), {"retrieval": "db", "query": "te"}))
    with pytest.raises(InputError, match="splits of its own"):
        open_source(file, split="query", holdout=Holdout(2))


def test_a_third_modality_is_called_by_its_letter_or_as_the_caller_says(tmp_path):
    arrays = nch(parts(), {"retrieval": "db", "query": "te"}) | {"P_db": np.ones((9, 2)), "P_te": np.ones((4, 2))}
    file = save_npz(tmp_path / "set", arrays)
    assert open_source(file).info.dims == {"image": 5, "text": 7, "p": 2}
    named = open_source(file, split="query", columns=ColumnNames(modalities={"pixels": "P", "words": "T"}))
    assert named.info.dims == {"pixels": 2, "words": 7}
    with pytest.raises(InputError, match="no column 'Q' for the modality 'x'; columns: I, T, L, P"):
        open_source(file, columns=ColumnNames(modalities={"x": "Q"}))


def test_a_split_that_lacks_a_modality_or_labels_has_gaps_there(tmp_path):
    arrays = nch(parts(), {"retrieval": "db", "query": "te"})
    del arrays["I_te"], arrays["L_te"]
    query = open_source(save_npz(tmp_path / "set", arrays), split="query").read()
    assert query.dims == DIMS
    assert query.present.tolist() == [[False, True]] * 4
    assert (query.labels.shape, query.labelled.tolist()) == ((4, 3), [False] * 4)
    both = open_source(tmp_path / "set.npz").read()
    assert both.present.sum(axis=0).tolist() == [9, 13]
    assert both.labelled.sum() == 9


def test_splits_that_do_not_fit_together(tmp_path):
    arrays = nch(parts(), {"retrieval": "db", "query": "te"})
    with pytest.raises(InputError, match="'I' differs in size between splits: retrieval 5, query 4"):
        open_source(save_npz(tmp_path / "set", arrays | {"I_te": np.ones((4, 4))}))
    with pytest.raises(InputError, match=r"disagree in their number of rows: I \(3, 5\), T \(4, 7\), L \(4, 3\)"):
        open_source(save_npz(tmp_path / "set", arrays | {"I_te": np.ones((3, 5))}))
    with pytest.raises(InputError, match="labels of the splits differ in shape"):
        open_source(save_npz(tmp_path / "set", arrays | {"L_te": np.ones((4, 2))}))
    with pytest.raises(InputError, match="the query split has no ids"):
        open_source(save_npz(tmp_path / "set", arrays | {"id_db": np.arange(9)}))


def test_messages_name_the_split_and_its_row(tmp_path):
    arrays = nch(parts(), {"retrieval": "db", "query": "te"})
    arrays["T_te"][2, 0] = np.inf
    with pytest.raises(InputError, match=r"set\.npz \(query\): row 2 \(id 11\) has NaN or infinity in 'text'"):
        open_source(save_npz(tmp_path / "set", arrays)).read()


def dcmh(folder: Path, name: str = "flickr", **arrays: np.ndarray) -> dict[str, Path]:
    files = {}
    for key, x in arrays.items():
        files[key] = folder / f"{name}-{key.lower()}.mat"
        (save_v73 if x.ndim == 4 else save_v5)(files[key], {key: x})
    return files


def test_dcmh_style_files_are_found_from_any_of_them_and_from_their_folder(tmp_path):
    data = parts()["retrieval"]
    files = dcmh(tmp_path, FAll=data["image"], YAll=data["text"], LAll=data["labels"])
    for path in (*files.values(), tmp_path):
        splits = open_splits(path)
        assert splits.keys() == {"all"}
        check(splits["all"], data)


def test_dcmh_style_in_one_file(tmp_path):
    data = parts()["retrieval"]
    pictures = np.zeros((9, 3, 8, 8), np.uint8)
    for save in (save_v5, save_v73):
        file = save(
            tmp_path / save.__name__,
            {"IAll": pictures, "FAll": data["image"], "YAll": data["text"], "LAll": data["labels"]},
        )
        check(open_source(file), data)


def test_dcmh_style_without_images_has_text_only(tmp_path):
    data = parts()["retrieval"]
    files = dcmh(tmp_path, YAll=data["text"], LAll=data["labels"])
    source = open_source(files["LAll"])
    assert source.info.dims == {"text": 7}
    assert np.array_equal(source.read().labels, data["labels"])


def test_dcmh_style_raw_pictures_are_refused_but_not_needed(tmp_path):
    data = parts()["retrieval"]
    files = dcmh(tmp_path, IAll=np.zeros((9, 3, 8, 8)), YAll=data["text"], LAll=data["labels"])
    for path in (*files.values(), tmp_path):
        with pytest.raises(
            InputError, match=r"'IAll' has shape \(9, 3, 8, 8\), which looks like raw pictures; features are wanted"
        ):
            open_source(path)
    assert open_source(tmp_path, columns=ColumnNames(modalities={"text": "YAll"})).info.dims == {"text": 7}
    dcmh(tmp_path, FAll=data["image"])
    check(open_source(tmp_path), data)


def test_dcmh_style_features_called_iall(tmp_path):
    data = parts()["retrieval"]
    dcmh(tmp_path, IAll=data["image"], YAll=data["text"], LAll=data["labels"])
    check(open_source(tmp_path), data)


def test_folders_that_hold_no_data_set_or_several(tmp_path):
    with pytest.raises(InputError, match=r"is a folder; .* it holds none"):
        open_source(tmp_path)
    data = parts()["retrieval"]
    dcmh(tmp_path, "flickr", YAll=data["text"])
    files = dcmh(tmp_path, "nus", YAll=data["text"], LAll=data["labels"])
    with pytest.raises(InputError, match=r"2 data sets \(flickr, nus\)"):
        open_source(tmp_path)
    assert open_source(files["YAll"]).info.classes == 3


def test_labels_alone_are_no_features(tmp_path):
    files = dcmh(tmp_path, LAll=parts()["query"]["labels"])
    with pytest.raises(InputError, match="no column of feature vectors"):
        open_source(files["LAll"])
