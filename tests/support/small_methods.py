"""Every published method in a size that trains in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from support.knowledge import write_knowledge
from support.train_data import DIMS, M, finished, run

from ichash_export.methods.base import Method, ModelSpec, TrainData
from ichash_export.methods.cich.method import CICH
from ichash_export.methods.dcmh import DCMH
from ichash_export.methods.egich.method import EGICH
from ichash_export.methods.jcpmh.method import JCPMH
from ichash_export.methods.nch.method import NCH
from ichash_export.methods.pmch.method import PMCH
from ichash_export.methods.unihash.method import UniHash

KNOWLEDGE = str(write_knowledge())
SMALL: dict[type[Method], dict[str, Any]] = {
    CICH: {
        "epochs": 4,
        "batch_size": 16,
        "hidden": 9,
        "width": 7,
        "neighbours": 3,
        "alpha": 0.7,
        "delta": 0.5,
        "beta": 0.3,
        "tau": 0.4,
    },
    DCMH: {
        "epochs": 4,
        "batch_size": 8,
        "hidden": (7, 9),
        "quantisation": 0.3,
        "balance": 0.6,
        "learning_rate": 1e-2,
    },
    EGICH: {
        "epochs": 4,
        "batch_size": 16,
        "hidden": 9,
        "width": 7,
        "words": 2,
        "dropout": 0.0,
        "knowledge": KNOWLEDGE,
    },
    JCPMH: {
        "epochs": 5,
        "classifier_epochs": 2,
        "autoencoder_epochs": 1,
        "batch_size": 64,
        "hidden": (8,),
        "width": 7,
        "generator_hidden": 8,
        "classifier_hidden": (9, 5),
        "autoencoder_hidden": 11,
        "autoencoder_width": 6,
    },
    NCH: {
        "epochs": 4,
        "neighbour_epochs": 2,
        "batch_size": 64,
        "anchors": 5,
        "nearest": 2,
        "hidden": (9, 8),
        "width": 7,
        "generator_hidden": 10,
        "attention_width": 6,
        "attention_hidden": 8,
    },
    PMCH: {
        "hidden": (9, 8),
        "width": 7,
        "weight_net": (10, 9),
        "batch_size": 16,
        "random_anchors": 5,
        "nearest": 2,
    },
    UniHash: {"hidden": 9, "width": 7, "slots": 5, "batch_size": 16, "epochs": 4},
}


def small(
    method: type[M],
    dims: Mapping[str, int] = DIMS,
    classes: int = 3,
    bits: int = 8,
    names: tuple[str, ...] = (),
    **chosen: Any,
) -> M:
    """Return a small model with random weights; `chosen` settings replace those of `SMALL`."""
    torch.manual_seed(1)
    config = method.Config(**{**SMALL[method], **chosen})
    return method(ModelSpec(dict(dims), classes, bits, names, method.input_sizes(config, None)), config)


def trained(
    build: Callable[..., M], epochs: Iterable[int], data: TrainData, dims: Mapping[str, int] = DIMS, **chosen: Any
) -> M:
    """Return a model that `build` made after these epochs, so that nothing is at its initial value, for inference."""
    method = build(dims, **chosen)
    run(method, data, epochs)
    return finished(method, data)


def shown(value: object) -> str:
    """Return what names a value in a test's id: the name of a class, or the value as text."""
    return value.__name__ if isinstance(value, type) else str(value)
