"""Settings that cannot be, and data that a method cannot be trained on: what is wrong is said before training."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from support.knowledge import CLASSES
from support.small_methods import KNOWLEDGE, shown, small
from support.train_data import items

from ichash_export.methods.base import Method
from ichash_export.methods.cich.method import CICH
from ichash_export.methods.dcmh import DCMH
from ichash_export.methods.egich.method import EGICH
from ichash_export.methods.jcpmh.method import JCPMH
from ichash_export.methods.nch.method import NCH
from ichash_export.methods.pmch.method import PMCH
from milvus_ichash.errors import InputError


@pytest.mark.parametrize(
    ("method", "wrong", "says"),
    [
        (CICH, {"variant": "pair"}, "variant"),
        (CICH, {"tau": 0}, "tau"),
        (CICH, {"neighbours": 0}, "neighbours"),
        (CICH, {"learning_rate": (1e-3, 1e10)}, "learning_rate: 1e\\+10 is beyond all sense; 10 is the most"),
        (CICH, {"learning_rate": (1e-3, float("nan"))}, "finite number"),
        (JCPMH, {"epochs": 100}, "must be less than epochs"),
        (NCH, {"epochs": 10, "neighbour_epochs": 10}, "--set neighbour_epochs=N with N from 0 to 9"),
        (NCH, {"hidden": ()}, "hidden"),
        (PMCH, {"hidden": ()}, "hidden"),
        (PMCH, {"weight_net": ()}, "weight_net"),
        (PMCH, {"completion": "mlp", "anchors": "random"}, "completion"),
        (PMCH, {"completion": "none", "aggregation": "knn"}, "completion"),
    ],
    ids=shown,
)
def test_settings_that_cannot_be(method: type[Method], wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        method.Config(**wrong)


@pytest.mark.parametrize(
    ("method", "wrong", "says"),
    [
        (CICH, {"pooling": ["words"]}, "'pooling' names 'words'; the modalities are: image, text"),
        (CICH, {"pooling": ["text"]}, "pools over up to 50 words, the modality has 4 features"),
        (JCPMH, {"words": ("txet",)}, r"jcpmh: .*'txet'.*image, text"),
        (NCH, {"words": ("txet",)}, r"nch: .*'txet'.*image, text"),
    ],
    ids=shown,
)
def test_settings_that_do_not_fit_the_modalities(method: type[Method], wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        small(method, **wrong)


@pytest.mark.parametrize(
    ("method", "chosen", "missing", "says"),
    [
        (
            CICH,
            {},
            1.0,
            "cich needs at least 1 paired .*item, one that has both 'image' and 'text'; none of the 40",
        ),
        (DCMH, {}, 1.0, "dcmh trains on items that have all of image, text; none of the 40 training items has"),
        (JCPMH, {}, 1.0, "jcpmh needs at least 2 training items that have all of image, text.*there are 0 of 40"),
        (
            JCPMH,
            {"classifiers": False},
            1.0,
            "jcpmh needs at least 2 training items that have all of image, text.*there are 0 of 40",
        ),
        (NCH, {}, 1.0, "nch needs at least 2 training items.*there are 0 of 40.*--set neighbour=none"),
        (
            PMCH,
            {"anchors": "random"},
            0.9,
            r"needs 5 training items.*there are 4 of 40.*--set random_anchors=4\)",
        ),
    ],
    ids=shown,
)
def test_too_few_complete_items_are_named(
    method: type[Method], chosen: dict[str, Any], missing: float, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        small(method, **chosen).begin(items(missing=missing))


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"names": ()}, "selection=centres"),
        ({"knowledge": "none.npz"}, r"knowledge build .*selection=none"),
        ({"words": 13}, "has 12"),
    ],
    ids=shown,
)
def test_what_egich_needs_for_its_words(chosen: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        small(EGICH, **{"names": CLASSES, "knowledge": KNOWLEDGE, **chosen}).begin(items())


@pytest.mark.parametrize("chosen", [{"selection": "none"}, {"completion": "none", "gamma": 0}], ids=shown)
def test_egich_without_words_needs_no_file(chosen: dict[str, Any]) -> None:
    small(EGICH, knowledge="none.npz", names=CLASSES, **chosen)
