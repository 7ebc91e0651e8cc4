"""The description by which a collection knows the bundle that made its codes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from milvus_ichash.bundle import Manifest
from milvus_ichash.codes import Codes, cut
from milvus_ichash.errors import InputError
from milvus_ichash.index.field_names import ID, LABELS, has

DESCRIPTION_BYTES = 16_384
"""Label names that would make the description longer than this are left out of it."""


class Description(BaseModel):
    """The JSON in a collection's description field: Milvus Lite keeps no other place for such things.

    Attributes:
        ichash: version of this format: 2 where the items' labels are names of classes. In 1 they are class numbers, as
            in all collections that were made by earlier releases, and where classes have no names.
        fingerprint: of the bundle.
        method: name of the method that trained the bundle.
        bits: length of the stored codes.
        cut_from: length of the bundle's codes where the stored ones are the first bits of those, else None.
        codes: names of the stored codes, each with its modality; None for a fused code.
        modalities: names, in the order of the columns of `present`.
        label_names: names of the classes, in the order of their numbers; None where they are unknown or too long to
            store.
    """

    model_config = ConfigDict(frozen=True)

    ichash: Literal[1, 2] = 1
    fingerprint: str
    method: str
    bits: int
    cut_from: int | None = None
    codes: dict[str, str | None]
    modalities: tuple[str, ...]
    label_names: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        codes: Sequence[str] | None = None,
        bits: int | None = None,
        *,
        labels_by_name: bool | None = None,
    ) -> Description:
        """Return the description of a collection for the codes of a bundle.

        Args:
            manifest: of the bundle.
            codes: names of the codes to store; all of them where None.
            bits: length to which the codes are cut; their whole length where None.
            labels_by_name: whether the items' labels are names; where None, they are if the bundle has names.

        Raises:
            InputError: names a code that the bundle does not make, or the lengths that its codes can be cut to.
        """
        made = {code.name: code.modality for code in manifest.codes}
        wanted = list(made) if codes is None else list(dict.fromkeys(codes))
        unknown = [name for name in wanted if name not in made]
        if unknown or not wanted:
            raise InputError(f"the bundle makes no code '{unknown[0] if unknown else ''}'; it makes {', '.join(made)}.")
        names = [ID, LABELS, *wanted, *(has(m) for m in manifest.dims)]
        if len(set(names)) < len(names):
            raise InputError(f"the bundle's codes and modalities need different names in Milvus: {', '.join(names)}.")
        length = manifest.length(bits)
        by_name = manifest.label_names is not None if labels_by_name is None else labels_by_name
        description = cls(
            ichash=2 if by_name else 1,
            fingerprint=manifest.fingerprint,
            method=manifest.method,
            bits=length,
            cut_from=None if length == manifest.bits else manifest.bits,
            codes={name: made[name] for name in wanted},
            modalities=tuple(manifest.dims),
            label_names=manifest.label_names,
        )
        fits = len(description.to_json().encode()) <= DESCRIPTION_BYTES
        return description if fits else description.model_copy(update={"label_names": None})

    @classmethod
    def parse(cls, text: str) -> Description | None:
        """Return the description in this text, or None where it is not one of ours."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None

    @property
    def labels_by_name(self) -> bool:
        """Whether the items' labels are names of classes, and not class numbers."""
        return self.ichash == 2

    def cut(self, codes: Codes) -> Codes:
        """Return codes as they are stored: whole codes of the bundle are cut, all others stay as they are."""
        whole = (
            self.cut_from is not None
            and isinstance(codes, np.ndarray)
            and codes.ndim == 2
            and codes.shape[1] == self.cut_from // 8
        )
        return cut(codes, self.bits // 8) if whole else codes

    def to_json(self) -> str:
        """Return the text to store."""
        return json.dumps(self.model_dump(), ensure_ascii=False, separators=(",", ":"))
