"""How good the codes are while training: held-out items query the items that are trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ichash_export.methods.base import Method, TrainData
from milvus_ichash.codes import Codes, pack
from milvus_ichash.errors import InputError

_BATCH = 4096
OBSERVED = "observed"


def validate(method: Method, queries: TrainData, database: TrainData) -> dict[str, float]:
    """Tie-aware mAP@all by task, of queries against database items, both as the method sees them.

    Fused codes: "observed" (queries with all they have), then each modality alone ("image": the queries that have an
        image,
    everything else hidden). Cross-modal codes: "image->text" and the like, queries with one modality against the items
    that have the other. A task without a query, or without a relevant item for any query, is left out.

    Raises:
        InputError: where no task is left.
    """
    from milvus_ichash.evaluation.metrics import mean_average_precision

    stored = encode(method, database)
    searched, database_labels = _known(database), _labels(database)
    result = {}
    for task, asked, code, target, there in _tasks(method, queries, database):
        kept = (there & searched).cpu().numpy()
        shared = _labels(asked).any(axis=0) & database_labels[kept].any(axis=0)
        if shared.any():
            found = encode(method, asked)[code]
            result[task] = mean_average_precision(found, stored[target][kept], _labels(asked), database_labels[kept])
    if not result:
        raise InputError(
            f"none of the {len(queries)} held-out items shares a label with a training item, so that epochs cannot be compared: "
            "hold out more (--validation 0.2), or none (--validation 0)."
        )
    return result


@torch.no_grad()
def encode(method: Method, data: TrainData) -> dict[str, Codes]:
    """Packed codes, uint8 (n, bits / 8) by name, in evaluation mode."""
    training = method.training
    method.eval()
    parts: dict[str, list[Codes]] = {name: [] for name in method.codes}
    for start in range(0, len(data), _BATCH):
        rows = slice(start, start + _BATCH)
        relaxed = method.encode({name: x[rows] for name, x in data.features.items()}, data.present[rows])
        for name, u in relaxed.items():
            parts[name].append(pack(u.float().cpu().numpy()))
    method.train(training)
    return {name: np.concatenate(codes) for name, codes in parts.items()}


def alone(data: TrainData, modality: int) -> TrainData:
    """The items that have this modality, with the others hidden."""
    rows = data.rows(data.present[:, modality].nonzero().flatten())
    present = torch.zeros_like(rows.present)
    present[:, modality] = True
    features = {name: x if i == modality else torch.zeros_like(x) for i, (name, x) in enumerate(rows.features.items())}
    return replace(rows, features=features, present=present)


def _tasks(
    method: Method, queries: TrainData, database: TrainData
) -> Iterator[tuple[str, TrainData, str, str, Tensor]]:
    """(task, queries, code of the queries, code of the database, database items that take part)."""
    modalities = method.spec.modalities
    everything = torch.ones(len(database), dtype=torch.bool, device=database.device)
    fused = [code for code, modality in method.codes.items() if modality is None]
    for code in fused:
        yield OBSERVED, queries, code, code, everything
        if len(modalities) > 1:
            for i, modality in enumerate(modalities):
                yield modality, alone(queries, i), code, code, everything
    by_modality = {modality: code for code, modality in method.codes.items() if modality is not None}
    for source, code in by_modality.items():
        for target, stored in by_modality.items():
            if source != target or len(by_modality) == 1:
                here, there = modalities.index(source), modalities.index(target)
                yield f"{source}->{target}", alone(queries, here), code, stored, database.present[:, there]


def _known(data: TrainData) -> Tensor:
    return torch.ones_like(data.present[:, 0]) if data.labelled is None else data.labelled


def _labels(data: TrainData) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return data.labels.cpu().numpy().astype(np.uint8)
