from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import helper, numpy_helper

from milvus_ichash import HashEncoder
from milvus_ichash.bundle import ENCODER, CodeOutput, Manifest, Modality, read_manifest, save
from milvus_ichash.errors import BackendMissingError, InputError, MismatchError
from milvus_ichash.features import FeatureTable, rows_unusable

MakeBundle = Callable[..., Path]
Arrays = dict[str, np.ndarray]
DIMS = {"image": 12, "text": 8, "sound": 5}
BITS = 24
SURE = 1e-4
"""Two roundings of one relaxed code may differ in sign only below this."""

rng = np.random.default_rng(7)
WEIGHTS = {m: rng.standard_normal((dim, BITS)).astype(np.float32) for m, dim in DIMS.items()}


@pytest.fixture(scope="module")
def encoders(make_bundle: MakeBundle) -> dict[bool, HashEncoder]:
    """By `fused`: the two kinds of bundle over three modalities."""
    return {
        f: HashEncoder.load(make_bundle(modalities=DIMS, bits=BITS, fused=f, weights=WEIGHTS), threads=1)
        for f in (True, False)
    }


@pytest.fixture(scope="module")
def encoder(encoders: dict[bool, HashEncoder]) -> HashEncoder:
    return encoders[True]


def items(n: int, seed: int = 0) -> Arrays:
    draw = np.random.default_rng(seed)
    return {m: draw.standard_normal((n, dim)).astype(np.float32) for m, dim in DIMS.items()}


def some_missing(n: int, seed: int = 0) -> np.ndarray:
    """bool (n, M) with gaps, and something in every row."""
    draw = np.random.default_rng(seed)
    present = draw.random((n, len(DIMS))) < 0.6
    present[np.arange(n), draw.integers(len(DIMS), size=n)] = True
    return present


def with_nan(features: Arrays, present: np.ndarray, value: float = np.nan) -> Arrays:
    """The features with NaN, or another value, where they are missing."""
    return {m: np.where(present[:, [i]], x, np.float32(value)) for i, (m, x) in enumerate(features.items())}


def expected(features: Arrays, present: np.ndarray, *, fused: bool) -> dict[str, np.ndarray]:
    """The relaxed codes of `support.bundles`, derived row by row in float64."""
    names = ["code"] if fused else [f"{m}_code" for m in DIMS]
    result = {name: np.zeros((len(present), BITS)) for name in names}
    for row in range(len(present)):
        z = {
            m: features[m][row].astype(float) @ WEIGHTS[m].astype(float) for i, m in enumerate(DIMS) if present[row, i]
        }
        if fused:
            result["code"][row] = sum(z.values())
        else:
            for m in DIMS:
                result[f"{m}_code"][row] = z[m] if m in z else sum(z.values()) / len(z)
    return result


def check_bits(codes: Mapping[str, np.ndarray], relaxed: Mapping[str, np.ndarray]) -> None:
    """Packed codes must have the signs of the relaxed ones, wherever those are beyond rounding."""
    assert set(codes) == set(relaxed)
    for name, packed in codes.items():
        assert packed.dtype == np.uint8
        assert packed.shape == (len(relaxed[name]), BITS // 8)
        sure = np.abs(relaxed[name]) > SURE
        bits = np.unpackbits(packed, axis=1).astype(bool)
        np.testing.assert_array_equal(bits[sure], (relaxed[name] > 0)[sure])


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_codes_are_the_graph_s_in_every_batch(encoders: dict[bool, HashEncoder], fused: bool, n: int) -> None:
    features, present = items(n), some_missing(n)
    wanted = expected(features, present, fused=fused)
    encoder = encoders[fused]
    check_bits(encoder.encode(**features, present=present), wanted)
    relaxed = encoder.relaxed(**features, present=present)
    for name, values in wanted.items():
        assert relaxed[name].dtype == np.float32
        np.testing.assert_allclose(relaxed[name], values, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64, 1000])
def test_large_inputs_are_cut_without_a_trace(make_bundle: MakeBundle, batch_size: int) -> None:
    folder = make_bundle(modalities=DIMS, bits=BITS, weights=WEIGHTS, fused=False)
    features, present = items(65), some_missing(65)
    encoder = HashEncoder.load(folder, batch_size=batch_size)
    check_bits(encoder.encode(**with_nan(features, present)), expected(features, present, fused=False))


@given(
    present=hnp.arrays(bool, st.tuples(st.integers(1, 9), st.just(len(DIMS)))).filter(
        lambda mask: bool(mask.any(axis=1).all())
    ),
    garbage=st.sampled_from([np.nan, np.inf, -np.inf, 3e38, 0.0, 1.0]),
    seed=st.integers(0, 99),
    fused=st.booleans(),
)
def test_what_is_missing_leaves_no_trace(
    encoders: dict[bool, HashEncoder], present: np.ndarray, garbage: float, seed: int, fused: bool
) -> None:
    """Whatever a missing row holds, and however it is said to be missing, the codes are those of what is there."""
    encoder, features = encoders[fused], items(len(present), seed)
    for value, mask in ((np.nan, None), (garbage, present), (np.nan, np.ones_like(present))):
        codes = encoder.encode(mask, **with_nan(features, present, value))
        check_bits(codes, expected(features, present, fused=fused))


@given(n=st.integers(1, 30), cut=st.integers(1, 30), seed=st.integers(0, 99), fused=st.booleans())
def test_a_row_s_code_does_not_depend_on_its_neighbours(
    encoders: dict[bool, HashEncoder], n: int, cut: int, seed: int, fused: bool
) -> None:
    encoder, features, present = encoders[fused], items(n, seed), some_missing(n, seed)
    order = np.random.default_rng(seed).permutation(n)[:cut]
    some = encoder.encode(present[order], **{m: x[order] for m, x in features.items()})
    check_bits(some, {name: values[order] for name, values in expected(features, present, fused=fused).items()})


@pytest.mark.parametrize(
    "more", [{}, {"image": None}, {"image": np.full((5, 12), np.nan)}, {"present": np.ones((5, 3), bool)}], ids=str
)
def test_a_modality_that_is_not_given_is_missing(encoder: HashEncoder, more: dict[str, Any]) -> None:
    features, only_text = items(5), np.tile(np.array([False, True, False]), (5, 1))
    check_bits(encoder.encode(text=features["text"], **more), expected(features, only_text, fused=True))


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.astype(np.float64),
        lambda x: x.tolist(),
        np.asfortranarray,
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x.astype(">f4"),
        *(lambda x, dtype=dtype: (x > 0).astype(dtype) for dtype in (np.uint8, np.int64, np.float16, np.bool_)),
    ],
    ids=["float64", "list", "fortran", "columns", "rows", "big-endian", "uint8", "int64", "float16", "bool"],
)
def test_kinds_of_arrays_in_any_order(encoder: HashEncoder, convert: Callable[[np.ndarray], Any]) -> None:
    given = {m: convert(x) for m, x in items(6).items()}
    wanted = expected({m: np.asarray(x) for m, x in given.items()}, np.ones((6, 3), bool), fused=True)
    check_bits(encoder.encode(**given), wanted)
    check_bits(encoder.encode(**dict(reversed(given.items()))), wanted)


def test_the_input_is_left_alone(encoder: HashEncoder) -> None:
    features, present = items(6), np.ones((6, 3), bool)
    features["text"][2] = np.nan
    for x in (*features.values(), present):
        x.setflags(write=False)
    encoder.encode(present, **features)
    assert present.all()


@pytest.mark.filterwarnings("error")
def test_values_so_large_that_their_squares_overflow_are_fine(encoder: HashEncoder) -> None:
    features = items(3)
    features["image"][1] = 1e18
    assert encoder.encode(**features)["code"].shape == (3, 3)


@pytest.mark.parametrize("empty", [np.zeros((0, 12)), []], ids=["array", "list"])
@pytest.mark.parametrize(("fused", "names"), [(True, ["code"]), (False, ["image_code", "text_code", "sound_code"])])
def test_nothing_in_nothing_out(encoders: dict[bool, HashEncoder], fused: bool, names: list[str], empty: Any) -> None:
    codes = encoders[fused].encode(image=empty)
    assert {name: (x.shape, x.dtype) for name, x in codes.items()} == dict.fromkeys(names, ((0, 3), np.uint8))
    assert encoders[fused].relaxed(image=empty)[names[0]].shape == (0, BITS)


def broken(part: str, row: int, value: float, column: int = 3) -> Arrays:
    features = items(4)
    features[part][row, column] = value
    return features


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, r"nothing to encode: .*image \(12\), text \(8\), sound \(5\)"),
        ({"image": None}, "nothing to encode"),
        ({"present": np.ones((4, 3), bool)}, "nothing to encode"),
        ({"img": items(4)["image"]}, r"no modality 'img': it takes image \(12\), text \(8\)"),
        ({"img": None}, "no modality 'img'"),
        ({"image": items(4)["text"]}, r"'image' has shape \(4, 8\): this bundle takes \(rows, 12\)"),
        ({"image": items(1)["image"][0]}, r"\(12,\): expected \(rows, 12\); for a single item give x\[None, :\]"),
        ({"image": items(4)["image"][None]}, r"\(1, 4, 12\)"),
        ({"image": 3.0}, r"shape \(\)"),
        ({"image": items(4)["image"], "text": items(5)["text"]}, "'text' has 5 rows and 'image' has 4"),
        ({"image": [[1.0] * 12, [1.0] * 11]}, "rows differ in length"),
        ({"image": [[1.0] * 12, None]}, "rows differ in length"),
        ({"image": [["a"] * 12]}, "expected numbers, with a row of NaN"),
        ({"image": np.full((2, 12), None)}, "holds object values"),
        ({"image": np.zeros((2, 12), complex)}, "holds complex128 values"),
        (broken("text", 2, np.nan), "row 2 has NaN or infinity in 'text'"),
        (broken("image", 3, np.inf), "row 3 has NaN or infinity in 'image'"),
        (broken("image", 1, -np.inf, column=0), "row 1 has NaN or infinity in 'image'"),
        (broken("image", 2, -3e38), r"row 2 has a number as large as 3e\+38 in 'image'"),
        (broken("image", 2, 1.1e18), r"row 2 has a number as large as 1.1e\+18 in 'image'"),
        ({"image": np.full((2, 12), 1e300)}, "row 0 has NaN or infinity in 'image'"),
        ({"image": np.full((2, 12), np.inf)}, "row 0 has NaN or infinity in 'image'"),
        ({"image": np.full((2, 12), np.nan)}, "row 0 has no modality at all"),
        (items(4) | {"present": np.eye(4, 3, dtype=bool)}, "row 3 has no modality at all"),
        (
            items(4) | {"present": np.ones((4, 2), bool)},
            r"'present' has shape \(4, 2\): expected \(4, 3\).*image, text, sound",
        ),
        (items(4) | {"present": np.ones((4, 3))}, "'present' holds float64"),
    ],
)
def test_bad_input(encoder: HashEncoder, arguments: dict[str, Any], problem: str) -> None:
    for method in (encoder.encode, encoder.relaxed):
        with pytest.raises(InputError, match=problem):
            method(**arguments)


def test_rows_are_numbered_through_all_batches(make_bundle: MakeBundle) -> None:
    encoder = HashEncoder.load(make_bundle(), batch_size=3)
    image = np.zeros((10, 12), np.float32)
    image[7, 1] = np.nan
    with pytest.raises(InputError, match="row 7 has NaN"):
        encoder.encode(image=image)
    with pytest.raises(InputError, match="row 8 has no modality"):
        encoder.encode(present=np.arange(20).reshape(10, 2) < 16, image=np.nan_to_num(image))


def table(features: Arrays, **more: Any) -> FeatureTable:
    n = len(next(iter(features.values())))
    return FeatureTable.build(np.array([f"id{i}" for i in range(n)], object), features, **more)


def test_a_table_is_read_by_name(encoder: HashEncoder) -> None:
    features, present = items(9), some_missing(9)
    gaps = with_nan(features, present)
    for gappy in (table(gaps), table(dict(reversed(gaps.items()))), table(features).hide(present)):
        check_bits(encoder.encode_table(gappy), expected(features, present, fused=True))


def test_the_values_of_a_table_are_looked_at_once(encoder: HashEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[np.ndarray] = []
    monkeypatch.setattr("milvus_ichash.features.rows_unusable", lambda x: looked.append(x) or rows_unusable(x))
    whole = table(items(9))
    encoder.encode_table(whole.rows(2, 6).hide(some_missing(4)))
    assert len(looked) == len(DIMS)
    encoder.encode_table(replace(whole))
    assert len(looked) == 2 * len(DIMS), "a table that nobody checked is checked here"


def test_a_table_may_lack_modalities_but_have_none_that_is_unknown(encoder: HashEncoder) -> None:
    features = items(4)
    only = table({"sound": features["sound"]})
    only_sound = np.tile(np.array([False, False, True]), (4, 1))
    check_bits(encoder.encode_table(only), expected(features, only_sound, fused=True))
    with pytest.raises(
        InputError, match=r"modality 'img' that the bundle does not know; it takes image, text, sound.*--modality"
    ):
        encoder.encode_table(table({"img": features["image"], "text": features["text"]}))


def test_rows_of_a_table_are_named_as_its_file_has_them(encoder: HashEncoder) -> None:
    features = items(4)
    whole = table(features, first_row=1000)
    features["text"][2, 0] = np.nan
    unchecked = replace(whole, features=features)  # build() would refuse it
    lacking = table({"sound": features["sound"], "text": np.nan_to_num(features["text"])}, first_row=50)
    nothing = lacking.hide(np.array([[True, True]] * 3 + [[False, False]]))
    for refused, says in (
        (unchecked, r"row 1002 \(id 'id2'\) has NaN or infinity in 'text'"),
        (nothing, r"row 53 \(id 'id3'\) has no modality"),
        (replace(nothing, ids=np.arange(0, 40, 10)), r"row 53 \(id 30\) has no modality"),
    ):
        with pytest.raises(InputError, match=says):
            encoder.encode_table(refused)


def test_a_copy_by_pickle_encodes_alike(encoder: HashEncoder) -> None:
    copy = pickle.loads(pickle.dumps(encoder))  # noqa: S301
    features = items(5)
    check_bits(copy.encode(**features), expected(features, np.ones((5, 3), bool), fused=True))
    assert (copy.batch_size, copy.raw.threads, copy.manifest) == (encoder.batch_size, 1, encoder.manifest)


def test_a_pickle_works_in_another_folder(
    make_bundle: MakeBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_bundle()
    monkeypatch.chdir(folder.parent)
    (tmp_path / "encoder.pkl").write_bytes(pickle.dumps(HashEncoder.load(folder.name, batch_size=3)))
    code = (
        "import pickle; print(pickle.load(open('encoder.pkl', 'rb')).encode(image=[[1.0] * 12] * 4)['code'].tolist())"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    assert result.stdout.strip() == str(HashEncoder.load(folder).encode(image=[[1.0] * 12] * 4)["code"].tolist()), (
        result.stderr
    )


def test_a_pickle_does_not_take_another_bundle_for_its_own(make_bundle: MakeBundle) -> None:
    folder, other = make_bundle(seed=1), make_bundle(seed=2)
    frozen = pickle.dumps(HashEncoder.load(folder))
    save(folder, read_manifest(other), {ENCODER: other / ENCODER}, overwrite=True)
    with pytest.raises(MismatchError, match=f"is now {read_manifest(other).fingerprint}"):
        pickle.loads(frozen)  # noqa: S301


def test_threads_may_share_an_encoder(make_bundle: MakeBundle) -> None:
    encoder = HashEncoder.load(make_bundle(modalities=DIMS, bits=BITS, weights=WEIGHTS), batch_size=16)
    inputs = [items(10 + 7 * i, seed=i) for i in range(8)]
    only_image = np.array([[True, False, False]])
    wanted = [expected(x, np.repeat(only_image, len(x["image"]), axis=0), fused=True) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for codes, relaxed in zip(
                pool.map(lambda x: encoder.encode(image=x["image"]), inputs), wanted, strict=True
            ):
                check_bits(codes, relaxed)


def test_one_modality_is_enough(make_bundle: MakeBundle) -> None:
    encoder = HashEncoder.load(make_bundle(modalities={"self": 3}, bits=8))
    assert encoder.encode(**{"self": np.ones((2, 3))})["code"].shape == (2, 1)


def test_the_repr_says_what_it_is(encoder: HashEncoder) -> None:
    assert "method='linear', bits=24, modalities={'image': 12, 'text': 8, 'sound': 5}, device='cpu'" in repr(encoder)


@pytest.mark.parametrize(
    ("damage", "options", "problem"),
    [
        (lambda folder: folder.rename(f"{folder}-elsewhere"), {}, "is not a folder"),
        (lambda folder: None, {"batch_size": 0}, "batch size of 0"),
        (lambda folder: (folder / ENCODER).write_bytes(b"half a graph"), {}, "damaged or was changed"),
        (
            lambda folder: save(folder, read_manifest(folder), {ENCODER: b"no graph"}, overwrite=True),
            {},
            "no ONNX graph",
        ),
    ],
)
def test_load_refuses_what_it_cannot_use(
    make_bundle: MakeBundle, damage: Callable[[Path], object], options: dict[str, Any], problem: str
) -> None:
    folder = make_bundle()
    damage(folder)
    with pytest.raises(InputError, match=problem):
        HashEncoder.load(folder, **options)


def test_cuda_must_not_be_pretended(make_bundle: MakeBundle) -> None:
    folder = make_bundle()
    try:
        assert HashEncoder.load(folder, device="cuda").device == "cuda"
    except BackendMissingError as error:
        assert "CPUExecutionProvider" in str(error)


def lying(folder: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], None] | None = None, **fields: Any) -> Path:
    """The bundle with another graph or manifest, whole by its digests."""
    model = onnx.load(folder / ENCODER)
    if change:
        change(model)
    manifest = Manifest.model_validate(read_manifest(folder).model_dump() | fields)
    save(tmp_path / "lying", manifest, {ENCODER: model.SerializeToString()})
    return tmp_path / "lying"


def fix_batch(model: onnx.ModelProto) -> None:
    for node in (*model.graph.input, *model.graph.output):
        node.type.tensor_type.shape.dim[0].dim_value = 1


def least_significant_bit_first(model: onnx.ModelProto) -> None:
    places = next(c for c in model.graph.initializer if c.name == "code_places")
    places.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(places)[::-1].copy(), "code_places"))


def only_fives(model: onnx.ModelProto) -> None:
    """A graph that declares any batch and runs only where 5 divides the number of relaxed values."""
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array([5, -1]), "fives"))
    graph.initializer.append(numpy_helper.from_array(np.array([-1, 16]), "rows"))
    place = next(i for i, node in enumerate(graph.node) if node.output[0] == "code_relaxed")
    graph.node[place].output[0] = "sum"
    graph.node.insert(place + 1, helper.make_node("Reshape", ["sum", "fives"], ["cut"]))
    graph.node.insert(place + 2, helper.make_node("Reshape", ["cut", "rows"], ["code_relaxed"]))


def only_three_rows(model: onnx.ModelProto) -> None:
    """A graph that gives the first three rows of any batch."""
    graph = model.graph
    for name, value in (("zero_row", [0]), ("three_rows", [3])):
        graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    for output in ("code", "code_relaxed"):
        place = next(i for i, node in enumerate(graph.node) if node.output[0] == output)
        graph.node[place].output[0] = f"all_{output}"
        for node in graph.node:
            node.input[:] = [f"all_{output}" if name == output else name for name in node.input]
        graph.node.insert(place + 1, helper.make_node("Slice", [f"all_{output}", "zero_row", "three_rows"], [output]))


def test_a_graph_that_makes_codes_of_other_rows_only(make_bundle: MakeBundle, tmp_path: Path) -> None:
    encoder = HashEncoder.load(lying(make_bundle(), tmp_path, only_three_rows))
    assert encoder.encode(image=np.ones((3, 12)))["code"].shape == (3, 2)
    with pytest.raises(InputError, match="does not make one code for each row"):
        encoder.encode(image=np.ones((5, 12)))


@pytest.mark.parametrize(
    ("change", "fields", "problem"),
    [
        (None, {"modalities": (Modality(name="image", dim=12),)}, "it takes image, text, present and gives code"),
        (
            None,
            {"modalities": (Modality(name="image", dim=13), Modality(name="text", dim=8))},
            r"'image' is tensor\(float\).*\(batch, 13\)",
        ),
        (
            None,
            {"codes": (CodeOutput(name="image_code", modality="image"),)},
            "the manifest says image, text, present and image_code",
        ),
        (None, {"bits": 32}, r"'code' is tensor\(uint8\).*\(batch, 4\)"),
        (fix_batch, {}, r"'image' is tensor\(float\) \[1, 12\]"),
        (least_significant_bit_first, {}, "another size or bit rule"),
        (only_fives, {}, "batch of 3 rows"),
    ],
)
def test_a_graph_that_does_not_fit_its_manifest(
    make_bundle: MakeBundle, tmp_path: Path, change: Any, fields: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        HashEncoder.load(lying(make_bundle(), tmp_path, change, **fields))
