"""The objective of each method is the weighted sum of its terms, with the weights of its paper."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.small_methods import small

from ichash_export.methods.base import Method
from ichash_export.methods.cich.method import CICH
from ichash_export.methods.egich.method import EGICH, EGICHConfig
from ichash_export.methods.jcpmh.method import JCPMH
from ichash_export.methods.nch.method import NCH
from ichash_export.methods.pmch.method import PMCH
from ichash_export.methods.unihash.method import UniHash
from ichash_export.papers.recipes import load_recipe


@pytest.mark.parametrize(
    ("method", "chosen", "weights"),
    [
        pytest.param(
            CICH,
            {"quantisation": 0.2, "label_loss": 0.9},
            {"L_P": 1, "L_Q": 0.2, "L_SaCH": 0.7, "L_CCA": 0.5, "L_label": 0.9},
            id="cich, eq. 11",
        ),
        pytest.param(
            EGICH,
            {"gamma": 2, "alpha": 3, "beta": 4, "quantisation": 5, "label_loss": 6},
            {"L_align": 2, "L_intra": 3, "L_inter": 4, "L_quant": 5, "L_label": 6},
            id="egich",
        ),
        pytest.param(
            EGICH, {}, {"L_align": 1, "L_intra": 15, "L_inter": 5, "L_quant": 1, "L_label": 1}, id="egich as it comes"
        ),
        pytest.param(
            JCPMH,
            {"alpha": 0.3, "lambda_1": 0.5, "lambda_2": 0.7},
            {"L_s": 1, "L_b": 0.3, "L_2": 0.5, "L_3": 0.7},
            id="jcpmh",
        ),
        pytest.param(JCPMH, {}, {"L_s": 1, "L_b": 0.1, "L_2": 0.1, "L_3": 0.25}, id="jcpmh as it comes"),
        pytest.param(JCPMH, {}, {"L_r": 1}, id="jcpmh, stage 2"),
        pytest.param(
            NCH,
            {"quantisation": 0.3, "generation": 0.7},
            {"L2 similarity": 1, "L3 quantisation": 0.3, "L4 generation": 0.7},
            id="nch",
        ),
        pytest.param(NCH, {}, {"L2 similarity": 1, "L3 quantisation": 0.1, "L4 generation": 0.1}, id="nch as it comes"),
        pytest.param(
            PMCH,
            {"alpha": 0.3, "beta": 0.7, "gamma": 0.2},
            {"L_sim": 1, "L_sign": 0.2, "L_recons": 0.3, "L_proto": 0.7},
            id="pmch, eq. 10",
        ),
        pytest.param(
            UniHash,
            {"rank": 13, "proto": 2, "pair": 3, "consistency": 5, "contrast": 7, "quantisation": 11, "memory": 0},
            {"L_proto": 2, "L_pair": 3, "L_cons": 5, "L_con": 7, "L_quant": 11, "L_mem": 0, "L_rank": 13},
            id="unihash",
        ),
    ],
)
def test_the_objective_weighs_the_terms(
    method: type[Method], chosen: dict[str, Any], weights: dict[str, float]
) -> None:
    terms = {name: torch.tensor(10.0**i, dtype=torch.float64) for i, name in enumerate(weights)}
    expected = sum(weight * 10**i for i, weight in enumerate(weights.values()))
    assert small(method, **chosen).objective(terms).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("recipe", "published"),
    [
        ("egich/mirflickr25k", {"gamma": 1, "alpha": 15, "beta": 5}),
        ("egich/mscoco", {"gamma": 1, "alpha": 2, "beta": 5}),
        ("egich/nuswide", {"gamma": 1, "alpha": 7.5, "beta": 5}),
    ],
)
def test_published_weights_of_egich(recipe: str, published: dict[str, float]) -> None:
    same = {"epochs": 150, "batch_size": 64, "words": 5, "tau": 0.29, "theta": 0.5}
    assert (published | same).items() <= EGICHConfig(**load_recipe(recipe).settings).model_dump().items()


@pytest.mark.parametrize(
    ("recipe", "published"),
    [
        ("jcpmh/mirflickr25k", {"alpha": 0.1, "lambda_1": 0.1, "lambda_2": 0.25}),
        ("jcpmh/nuswide", {"alpha": 0.1, "lambda_1": 0.1, "lambda_2": 0.05}),
    ],
)
def test_published_weights_of_jcpmh(recipe: str, published: dict[str, float]) -> None:
    """Section 4.2."""
    assert published.items() <= load_recipe(recipe).settings.items()
