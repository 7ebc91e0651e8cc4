"""How good the codes are while training: the validation items query the items that are trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ichash_export.methods.base import Method, TrainData
from milvus_ichash.codes import Codes, pack
from milvus_ichash.errors import InputError
from milvus_ichash.evaluation.metrics import mean_average_precision
from milvus_ichash.evaluation.tasks import Task, cross_modal_tasks, fused_tasks
from milvus_ichash.features import MultiHot

_BATCH = 4096


def validate(method: Method, queries: TrainData, database: TrainData) -> dict[str, float]:
    """Return the tie-aware mAP@all by task, of queries against database items, both with scaled features.

    The tasks of a fused code: "observed" asks each query with all that it has; "image" asks the queries that have an
    image with the image alone, and so on for each modality. The tasks of cross-modal codes: "image->text" asks with
    images against the items that have texts, and so on. A task is left out where no query can be asked or none has a
    relevant item.

    Raises:
        InputError: no task is left.
    """
    modalities = method.spec.modalities
    stored, database_labels = encode(method, database), _labels(database)
    result = {}
    for task in _tasks(method):
        asked = queries if task.asked is None else alone(queries, modalities.index(task.asked[0]))
        there = database.known
        if task.target is not None:
            there = there & database.present[:, modalities.index(task.target)]
        rows, labels = there.cpu().numpy(), _labels(asked)
        if (labels.any(axis=0) & database_labels[rows].any(axis=0)).any():
            codes = encode(method, asked)[task.query_code]
            result[task.name] = mean_average_precision(
                codes, stored[task.stored_code][rows], labels, database_labels[rows]
            )
    if not result:
        raise InputError(
            f"none of the {len(queries)} held-out items shares a label with a training item, so that epochs "
            "cannot be compared: hold out more (--validation 0.2), or none (--validation 0)."
        )
    return result


@torch.no_grad()
def encode(method: Method, data: TrainData) -> dict[str, Codes]:
    """Return packed codes, uint8 (n, bits / 8) by name, made in evaluation mode."""
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
    """Return the items that have this modality, with the others hidden."""
    rows = data.rows(data.present[:, modality].nonzero().flatten())
    present = torch.zeros_like(rows.present)
    present[:, modality] = True
    features = {name: x if i == modality else torch.zeros_like(x) for i, (name, x) in enumerate(rows.features.items())}
    return replace(rows, features=features, present=present)


def _tasks(method: Method) -> list[Task]:
    names = {modality: code for code, modality in method.codes.items()}
    if None in names:
        _, *each_alone, observed = fused_tasks(names[None], method.spec.modalities)
        return [observed, *each_alone]
    tasks = cross_modal_tasks({modality: names[modality] for modality in method.spec.modalities})
    return [task for task in tasks if task.asked != (task.target,) or len(tasks) == 1]


def _labels(data: TrainData) -> MultiHot:
    return data.labels.cpu().numpy().astype(np.uint8)
