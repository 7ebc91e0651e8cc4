"""Which cases a grid has, and what is refused before anything is trained."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.grids import dataset, write_splits

from ichash_export.compare.case import BASELINE, FULL
from ichash_export.compare.dataset import Dataset
from ichash_export.compare.grid import cases, contenders, protocols, remarks
from ichash_export.methods import registry
from ichash_export.papers.recipes import load_recipe, load_recipe_set
from milvus_ichash.errors import InputError

pytestmark = pytest.mark.usefixtures("tiny_methods")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return dataset(write_splits(tmp_path_factory.mktemp("grid") / "items.npz"))


def test_methods_ablations_and_baselines() -> None:
    who = contenders(["pmch", "cosine", "pmch: no completion", "nch:KNN", "pmch"])
    assert [(c.method, c.variant) for c in who] == [
        ("pmch", FULL),
        ("cosine", BASELINE),
        ("pmch", "no completion"),
        ("nch", "KNN"),
    ]
    assert who[2].settings == {"completion": "none"}
    assert contenders(["pmch:full"]) == contenders(["pmch"])


def test_all_ablations() -> None:
    who = contenders(["nch", "lsh"], ablations=True)
    assert [c.variant for c in who] == [FULL, *registry.load("nch").ablations, BASELINE]


def test_a_recipe_set_gives_settings_and_training_but_not_what_is_hidden() -> None:
    pmch, tiny, lsh = contenders(["pmch:no completion", "tiny", "lsh"], recipes=load_recipe_set("fashion"))
    recipe = load_recipe("pmch/fashion")
    assert pmch.settings == {**recipe.settings, "completion": "none"}
    assert pmch.training == {"validation": 0.0}
    assert (pmch.recipe, tiny.recipe, dict(tiny.settings), dict(tiny.training), lsh.recipe) == (
        "pmch/fashion",
        None,
        {},
        {},
        None,
    )
    assert remarks([pmch, tiny, lsh], "fashion") == ["without a recipe 'fashion', at their defaults: tiny."]
    assert remarks([pmch], "fashion") == remarks([tiny], None) == []
    (other,) = contenders(["pmch"], recipes=load_recipe_set("fashion"), training={"validation": 0.3})
    assert other.training == {"validation": 0.3}


def test_cuts_of_nested_codes(data: Dataset) -> None:
    small = ["unihash.hidden=4", "unihash.width=4"]
    who = contenders(["unihash", "unihash:not nested", "tiny", "lsh"], settings=small)
    grid = cases(who, [16, 64], protocols([], [], []), [0, 1], data, cuts=[16, 32])
    assert len(grid) == 2 * (4 + 6)
    assert [(c.method, c.called, c.bits) for c in grid[4:7]] == [
        ("unihash", FULL, 64),
        ("unihash", "cut from 64", 16),
        ("unihash", "cut from 64", 32),
    ]
    assert [case.cut_from for case in grid[:4] + grid[7:10]] == [None] * 7
    assert [case for case in grid if case.cut_from is None] == cases(who, [16, 64], protocols([], [], []), [0, 1], data)
    assert grid[5].whole == grid[6].whole == grid[4].whole == grid[4]
    assert grid[5].identity("x", {}) == grid[4].identity("x", {}) | {"variant": "cut from 64", "bits": 16}
    assert str(grid[5]) == "unihash: cut from 64, 16 bits, PDR 0, seed 0"
    (_, ablation) = cases(
        contenders(["unihash:without ranking"], settings=small), [32], protocols([], [], []), [0], data, cuts=[16]
    )
    assert ablation.called == "without ranking, cut from 32"
    for some, cut, says in (
        (who, 24, "--cut 24: unihash of 64 bits is trained to be cut to 16, 32"),
        (who, 12, "a code length of 12 bits"),
        (who[1:], 16, "no method here trains nested codes"),
        (who, 64, "no method here trains nested codes that are longer"),
    ):
        with pytest.raises(InputError, match=says):
            cases(some, [16, 64], protocols([], [], []), [0], data, cuts=[cut])


def test_settings_for_all_for_one_and_of_the_ablation() -> None:
    given = ["pmch.epochs=5", "epochs=3", "tiny.width=8", "pmch.completion=gae", "pmch.hidden=[8, 4]"]
    tiny, pmch, mlp = contenders(["tiny", "pmch", "pmch:MLP"], settings=given)
    assert (tiny.settings, pmch.settings) == (
        {"epochs": "3", "width": "8"},
        {"epochs": "5", "completion": "gae", "hidden": [8, 4]},
    )
    assert mlp.settings == {**pmch.settings, "completion": "mlp"}


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["pmhc"], {}, r"no method or baseline 'pmhc'; there are: .*Did you mean 'pmch'"),
        (["nch:KMN"], {}, "nch has no ablation 'KMN'; it has: full, .*Did you mean 'KNN'"),
        (["lsh:KNN"], {}, "'lsh:KNN': a baseline has no ablations"),
        (["tiny"], {"settings": ["epochs=3", "tiny.epochs=4", "epochs=5"]}, "--set gives 'epochs' twice"),
        (["tiny"], {"settings": ["tiny.epochs=3", "tiny. epochs=4"]}, "--set of 'tiny' gives 'epochs' twice"),
        (["tiny"], {"settings": ["pmch.epochs=3"]}, "'pmch' is not among --methods: tiny"),
        (["tiny"], {"settings": ["tiny.widht=3"]}, "method 'tiny', full has no 'widht': did you mean 'width'"),
        (["tiny"], {"settings": ["width=0"]}, "width: Input should be greater than or equal to 1"),
        (["tiny"], {"settings": ["width"]}, "NAME=VALUE"),
        (["egich"], {"settings": ["egich.knowledge=/no/such/knowledge.npz"]}, "knowledge.npz"),
    ],
)
def test_contenders_that_are_refused(names: list[str], options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        contenders(names, **options)


def test_pdrs_levels_and_query_pdrs_are_crossed() -> None:
    how = protocols([0.5, 0.9], ["hard"], [0.0, 0.3], "extend")
    assert [(p.pdr, p.level, p.query_pdr) for p in how] == [
        (0.5, None, 0.0),
        (0.5, None, 0.3),
        (0.9, None, 0.0),
        (0.9, None, 0.3),
        (0.0, "hard", 0.0),
        (0.0, "hard", 0.3),
    ]
    assert {p.use for p in how} == {"extend"}
    assert [(p.pdr, p.level, p.query_pdr) for p in protocols([], [], [])] == [(0.0, None, 0.0)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (([1.0], [], []), "a PDR of 1.0 is not possible"),
        (([0.5], [], [-0.1]), "a PDR of -0.1 is not possible"),
        (([], ["middling"], []), "there is no level 'middling'; there are: easy, medium, hard"),
        (([], [], [], "complete", ["a"], 0.5), "give one of the two"),
    ],
)
def test_protocols_that_are_refused(words: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        protocols(*words)


def test_the_grid_goes_seed_by_seed(data: Dataset) -> None:
    grid = cases(contenders(["tiny", "lsh"]), [16, 32], protocols([0.5], ["easy"], []), [0, 1], data)
    assert len(grid) == 16
    assert [case.seed for case in grid] == [0] * 8 + [1] * 8
    assert [(case.protocol.level, case.bits, case.method) for case in grid[:4]] == [
        (None, 16, "tiny"),
        (None, 16, "lsh"),
        (None, 32, "tiny"),
        (None, 32, "lsh"),
    ]
    assert grid[0].options().model_dump()["pdr"] == 0.5
    assert grid[4].options().model_dump()["level"] == "easy"


def test_unseen_classes_are_drawn_for_each_seed_or_as_named(data: Dataset) -> None:
    grid = cases(contenders(["tiny"]), [16], protocols([], [], [], unseen_share=0.5), range(6), data)
    assert all(len(case.protocol.unseen) == 2 for case in grid)
    assert len({case.protocol.unseen for case in grid}) > 1
    (case,) = cases(contenders(["tiny"]), [16], protocols([], [], [], unseen=["class 3", "class 1"]), [0], data)
    assert case.protocol.unseen == ("class 1", "class 3")


@pytest.mark.parametrize(
    ("bits", "how", "seeds", "message"),
    [
        ([12], {}, [0], "12 bits cannot be stored"),
        ([16], {"unseen": ["class 9"]}, [0], "no such class"),
        ([16], {"unseen_share": 1.5}, [0], "more than 0 and less than 1"),
        ([16], {"labelled": [0.5, 0.0]}, [0], "more than 0 and at most 1"),
        ([16], {}, [-1], "seed"),
    ],
)
def test_grids_that_are_refused(data: Dataset, bits: list[int], how: dict, seeds: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        cases(contenders(["tiny"]), bits, protocols([], [], [], **how), seeds, data)


def test_levels_need_two_modalities(data: Dataset) -> None:
    images = [
        replace(table, features={"image": table.features["image"]}, present=table.present[:, :1])
        for table in (data.train, data.query, data.retrieval)
    ]
    with pytest.raises(InputError, match="needs two modalities"):
        cases(contenders(["tiny"]), [16], protocols([], ["easy"], []), [0], Dataset("images", *images))
