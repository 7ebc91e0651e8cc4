"""Methods with one code for any modalities, on real data: completion finds more than leaving out what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.real_data import mfeat

from ichash_export.methods.base import Method
from ichash_export.methods.jcpmh.method import JCPMH
from ichash_export.methods.nch.method import NCH
from ichash_export.methods.pmch.method import PMCH


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "chosen", "more"),
    [
        # Measured for seeds 0 to 2: 0.60 to 0.63 at least, and 0.10 to 0.14 more.
        pytest.param(
            JCPMH,
            {
                "width": 256,
                "generator_hidden": 256,
                "classifier_hidden": (256,),
                "autoencoder_hidden": 256,
                "autoencoder_width": 128,
                "words": (),
                "epochs": 16,
                "classifier_epochs": 4,
                "autoencoder_epochs": 4,
            },
            0.05,
            id="jcpmh",
        ),
        # Measured for seeds 0 to 2: 0.65 to 0.67 at least, and 0.040 to 0.057 more.
        pytest.param(
            NCH,
            {
                "generation": 1.0,
                "words": (),
                "anchors": 100,
                "hidden": (256,),
                "width": 128,
                "generator_hidden": 256,
                "attention_width": 64,
                "attention_hidden": 64,
                "epochs": 30,
                "neighbour_epochs": 10,
                "schedule": "cosine",
                "learning_rate": 3e-3,
            },
            0.015,
            id="nch",
        ),
        # Measured for seeds 0 to 2: 0.77 to 0.78 at least, and 0.16 to 0.18 more.
        pytest.param(PMCH, {"epochs": 8, "hidden": (256,), "width": 128, "weight_net": (256,)}, 0.08, id="pmch"),
    ],
)
def test_real_digits_in_three_views_are_completed(
    method: type[Method], chosen: dict[str, Any], more: float, shared_data: Path
) -> None:
    """Most of 1,500 digits have gaps of any pattern; 500 others are searched by one view."""
    data = mfeat(shared_data)
    configs = (method.Config(batch_size=128, **chosen, **variant) for variant in ({}, {"completion": "none"}))
    completed, without = (
        list(data.single_modality_scores(data.trained(method, config)).values()) for config in configs
    )
    assert min(completed) > 0.5, (completed, without)
    assert np.mean(completed) > np.mean(without) + more, (completed, without)
