from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from milvus_ichash import queries as q
from milvus_ichash.codes import hamming_distance
from milvus_ichash.errors import InputError
from milvus_ichash.features import FeatureTable
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.hash_index import HashIndex
from milvus_ichash.runtime.encoder import HashEncoder

WORDS = ("red", "blue", "apple", "car")
DIMS = {"image": 6, "text": 4}
N = 60


def table() -> FeatureTable:
    """Items that lack one modality or the other, or none."""
    rng = np.random.default_rng(3)
    present = np.ones((N, 2), bool)
    present[0::3, 0] = False
    present[1::3, 1] = False
    features = {"image": rng.standard_normal((N, 6)), "text": (rng.random((N, 4)) < 0.5).astype(float)}
    return FeatureTable.build(np.array([f"k{i:02d}" for i in range(N)], object), features, present=present)


class Bundle:
    """An encoder, its items and their collection."""

    def __init__(
        self, connection: Connection, folder: Path, collection: str, *, codes: list[str] | None = None
    ) -> None:
        self.encoder = HashEncoder.load(folder, device="cpu", threads=1)
        self.items = table()
        self.codes = self.encoder.encode_table(self.items)
        self.index = HashIndex.create(connection, collection, self.encoder.manifest, codes=codes)
        self.index.upsert(
            self.items.ids, self.codes, self.items.present, None, {"title": [f"title {i}" for i in range(N)]}
        )

    def ranked(self, query: np.ndarray, code: str) -> list[tuple[int, str]]:
        distances = hamming_distance(query[None], self.codes[code])[0].tolist()
        return sorted(zip(distances, self.items.ids.tolist(), strict=True))


@pytest.fixture(scope="module")
def fused_items(connection: Connection, make_bundle: Callable[..., Path]) -> Bundle:
    return Bundle(connection, make_bundle(modalities=DIMS, words={"text": WORDS}, pictures={"image": 8}), "fused_items")


@pytest.fixture(scope="module")
def cross_items(connection: Connection, make_bundle: Callable[..., Path]) -> Bundle:
    return Bundle(
        connection,
        make_bundle(modalities=DIMS, words={"text": WORDS}, pictures={"image": 8}, fused=False),
        "cross_items",
    )


def pairs(rows: list[q.HitRow]) -> list[tuple[int, str]]:
    return [(row["distance"], row["id"]) for row in rows]


def test_words_search_the_fused_code(fused_items: Bundle) -> None:
    queries = q.words_to_codes(fused_items.encoder, ["red apple", "a blue car"])
    rows = q.find_nearest(fused_items.index, queries, top_k=N, output_fields=["title"])
    assert [row["rank"] for row in rows] == [*range(1, N + 1), *range(1, N + 1)]
    assert {row["query"] for row in rows[:N]} == {"red apple"}
    code = fused_items.encoder.encode(text=np.array([[1, 0, 1, 0]]))["code"][0]
    assert pairs(rows[:N]) == fused_items.ranked(code, "code")
    for row in rows:
        i = int(row["id"][1:])
        assert (row["title"], row["missing"]) == (f"title {i}", [["image"], ["text"], []][i % 3])
        assert list(row) == ["query", "rank", "id", "distance", "missing", "title"]


def test_words_search_the_other_modality(cross_items: Bundle) -> None:
    queries = q.words_to_codes(cross_items.encoder, ["red"])
    code = cross_items.encoder.encode(text=np.array([[1, 0, 0, 0]]))["text_code"][0]
    assert pairs(q.find_nearest(cross_items.index, queries, top_k=N)) == cross_items.ranked(code, "image_code")
    assert pairs(q.find_nearest(cross_items.index, queries, top_k=N, code="text_code")) == cross_items.ranked(
        code, "text_code"
    )


def test_pictures_search_the_other_modality(cross_items: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "apple.png"
    Image.new("RGB", (9, 7), (200, 30, 40)).save(path)
    queries = q.pictures_to_codes(cross_items.encoder, [path])
    _, features = cross_items.encoder.raw.pictures([path])
    code = cross_items.encoder.encode(image=features)["image_code"][0]
    rows = q.find_nearest(cross_items.index, queries, top_k=N)
    assert pairs(rows) == cross_items.ranked(code, "text_code")
    assert {row["query"] for row in rows} == {str(path)}


def test_features_by_one_modality(cross_items: Bundle, fused_items: Bundle) -> None:
    queries = q.features_to_codes(cross_items.encoder, cross_items.items, only="image")
    with_image = [i for i in range(N) if i % 3]
    assert queries.names == [f"k{i:02d}" for i in with_image]
    rows = q.find_nearest(cross_items.index, queries, top_k=N)
    for place, i in enumerate(with_image):
        assert pairs(rows[place * N : (place + 1) * N]) == cross_items.ranked(
            cross_items.codes["image_code"][i], "text_code"
        )
    alone = q.features_to_codes(fused_items.encoder, fused_items.items, only="text")
    code = fused_items.encoder.encode(text=fused_items.items.features["text"][[2]])["code"][0]
    assert pairs(q.find_nearest(fused_items.index, alone, top_k=N)[N : 2 * N]) == fused_items.ranked(code, "code")


def test_features_of_several_modalities(cross_items: Bundle, fused_items: Bundle) -> None:
    queries = q.features_to_codes(fused_items.encoder, fused_items.items)
    assert pairs(q.find_nearest(fused_items.index, queries, top_k=N)[:N]) == fused_items.ranked(
        fused_items.codes["code"][0], "code"
    )


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (
            lambda given: q.find_nearest(given.index, q.features_to_codes(given.encoder, given.items)),
            r"choose one with --code \(image_code, text_code\)",
        ),
        (
            lambda given: q.find_nearest(
                given.index, q.features_to_codes(given.encoder, given.items), code="text_code"
            ),
            "say with --only",
        ),
        (lambda given: q.features_to_codes(given.encoder, given.items, only="sound"), "no modality 'sound'"),
        (
            lambda given: q.features_to_codes(given.encoder, given.items.take(np.arange(0, N, 3)), only="image"),
            "no item has the modality 'image'",
        ),
        (lambda given: q.codes_of_stored_items(given.index, ["k01", "k99"]), "no item with the id 'k99'"),
        (
            lambda given: q.codes_of_stored_items(given.index, ["k01"], only="sound"),
            "there is no modality 'sound'; there are: image, text",
        ),
    ],
    ids=["no code", "no side", "unknown modality", "modality in no item", "unknown id", "no such code"],
)
def test_queries_that_cannot_be_asked(cross_items: Bundle, ask: Callable[[Bundle], object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        ask(cross_items)


def test_stored_items_search_by_their_code(cross_items: Bundle, fused_items: Bundle) -> None:
    queries = q.codes_of_stored_items(fused_items.index, ["k05", "k00"])
    rows = q.find_nearest(fused_items.index, queries, top_k=N)
    assert pairs(rows[:N]) == fused_items.ranked(fused_items.codes["code"][5], "code")
    assert pairs(rows[N:]) == fused_items.ranked(fused_items.codes["code"][0], "code")
    # k01 has no text: it searches by its picture, k00 the other way round, and k02 has both.
    for key, only, own, other in (
        ("k01", None, "image_code", "text_code"),
        ("k00", None, "text_code", "image_code"),
        ("k02", None, "image_code", "text_code"),
        ("k02", "text", "text_code", "image_code"),
    ):
        queries = q.codes_of_stored_items(cross_items.index, [key], only=only)
        rows = q.find_nearest(cross_items.index, queries, top_k=N)
        assert pairs(rows) == cross_items.ranked(cross_items.codes[own][int(key[1:])], other)


def test_a_collection_with_one_of_the_codes(
    connection: Connection, cross_items: Bundle, name: Callable[[], str]
) -> None:
    """Servers that take one vector field in a collection: i2t and t2t work, and t2i says what is missing."""
    index = HashIndex.create(connection, name(), cross_items.encoder.manifest, codes=["text_code"])
    index.upsert(cross_items.items.ids, cross_items.codes, cross_items.items.present)
    queries = q.features_to_codes(cross_items.encoder, cross_items.items, only="image")
    assert pairs(q.find_nearest(index, queries, top_k=N)[:N]) == cross_items.ranked(
        cross_items.codes["image_code"][1], "text_code"
    )
    with pytest.raises(InputError, match="stores no code 'image_code'; it has text_code"):
        q.find_nearest(index, queries, code="image_code")
    with pytest.raises(InputError, match="no code of the modality 'image'"):
        q.codes_of_stored_items(index, ["k01"], only="image")


def test_whole_numbers_as_ids(connection: Connection, fused_items: Bundle, name: Callable[[], str]) -> None:
    index = HashIndex.create(connection, name(), fused_items.encoder.manifest, id_kind="int64")
    index.upsert(np.arange(-2, 3), {"code": fused_items.codes["code"][:5]}, np.ones((5, 2), bool))
    rows = q.find_nearest(index, q.codes_of_stored_items(index, ["-2"]), top_k=1)
    assert (rows[0]["query"], rows[0]["id"], rows[0]["distance"]) == (-2, -2, 0)
    with pytest.raises(InputError, match="'two' is no id"):
        q.codes_of_stored_items(index, ["two"])


def test_fields(fused_items: Bundle, connection: Connection, name: Callable[[], str]) -> None:
    queries = q.codes_of_stored_items(fused_items.index, ["k05"])
    first = q.find_nearest(fused_items.index, queries, top_k=1, output_fields=["title", "id", "nothing", "has_text"])[0]
    assert first.items() >= {"title": "title 5", "nothing": None, "id": "k05", "query": "k05"}.items()
    everything = q.find_nearest(fused_items.index, queries, top_k=1, output_fields=["*"])[0]
    assert list(everything) == ["query", "rank", "id", "distance", "missing", "title"]
    index = HashIndex.create(connection, name(), fused_items.encoder.manifest)
    index.upsert(["a"], {"code": fused_items.codes["code"][:1]}, np.ones((1, 2), bool), None, {"rank": [7]})
    assert q.find_nearest(index, q.codes_of_stored_items(index, ["a"]), output_fields=["rank"])[0]["rank (field)"] == 7


def test_filter_and_radius(fused_items: Bundle) -> None:
    queries = q.codes_of_stored_items(fused_items.index, ["k05"])
    expected = [
        (d, key)
        for d, key in fused_items.ranked(fused_items.codes["code"][5], "code")
        if d <= 5 and int(key[1:]) % 3 == 0
    ]  # fmt: skip
    assert pairs(q.find_nearest(fused_items.index, queries, top_k=N, radius=5, filter="has_image == false")) == expected
