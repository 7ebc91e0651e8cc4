"""A collection of hash codes: what it holds, and which bundles, codes and filters belong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from milvus_ichash.bundle import Manifest
from milvus_ichash.choices import IdKind
from milvus_ichash.codes import Codes
from milvus_ichash.errors import InputError, MilvusError, MismatchError
from milvus_ichash.index import collection_schema, filters, label_forms, lookups, stored_rows
from milvus_ichash.index.batch import code_bytes
from milvus_ichash.index.client_errors import refused_expression
from milvus_ichash.index.connection import Connection
from milvus_ichash.index.description import Description
from milvus_ichash.index.field_names import has
from milvus_ichash.index.index_spec import IndexSpec


class CodeCollection:
    """A collection in Milvus that knows the bundle it was made with. `HashIndex` makes, writes and searches it.

    Attributes:
        connection: to Milvus.
        collection: its name.
        description: what the collection says of itself.
        id_kind: "str" or "int64".
        spec: how the codes are indexed.
        fingerprint, method: of the bundle that made its codes.
        bits: length of the stored codes; where they are cut, whole codes of the bundle are cut alike wherever they are
            given.
        codes: names of the stored codes.
        modalities: names, in the order of the columns of `present`.
        label_names: names of the classes, where they are known.
        labels_by_name: whether the items' labels are names; class numbers otherwise, as in old collections.
    """

    def __init__(self, connection: Connection, collection: str, description: Description, id_kind: IdKind) -> None:
        collection_schema.check_name(collection)
        self.connection = connection
        self.collection = collection
        self.description = description
        self.id_kind = id_kind
        self.spec = IndexSpec()
        self.fingerprint = description.fingerprint
        self.method = description.method
        self.bits = description.bits
        self.codes = tuple(description.codes)
        self.modalities = description.modalities
        self.label_names = description.label_names
        self.labels_by_name = description.labels_by_name

    def check(self, manifest: Manifest, bits: int | None = None) -> None:
        """Check that codes of this bundle belong with those of the collection.

        Raises:
            MismatchError: they do not.
            InputError: the collection's have another length than `bits`, where that is given.
        """
        if manifest.fingerprint != self.fingerprint:
            raise MismatchError(
                f"collection '{self.collection}' holds codes of the bundle {self.fingerprint} ({self.method}, "
                f"{self.bits} bits), and this bundle is {manifest.fingerprint} ({manifest.method}, {manifest.bits} "
                "bits): their distances mean nothing. Take the bundle it was made with, another collection, or make it "
                "anew with `ingest --recreate`."
            )
        if self.bits not in manifest.lengths:
            raise MismatchError(
                f"collection '{self.collection}' holds codes cut to {self.bits} bits, and this bundle's manifest says "
                f"that they can have {', '.join(map(str, manifest.lengths))}: take the bundle as it was when the "
                "collection was made, or make the collection anew with `ingest --recreate`."
            )
        if bits not in (None, self.bits):
            raise InputError(
                f"collection '{self.collection}' holds codes of {self.bits} bits, not {bits}: leave --bits out, "
                "or take another collection."
            )

    def check_kinds(self, id_kind: IdKind, codes: Sequence[str] | None, where: object = "the call") -> None:
        """Raise InputError where `where` (a file, say) has ids of another kind, or other codes were asked for."""
        if id_kind != self.id_kind:
            raise InputError(
                f"{where} has ids of type {id_kind}, and the collection '{self.collection}' of type {self.id_kind}."
            )
        if codes is not None and set(codes) != set(self.codes):
            raise InputError(
                f"the collection '{self.collection}' stores {', '.join(self.codes)}, not {', '.join(codes)}: "
                "leave --codes out."
            )

    def name_classes(self, names: Sequence[str] | None) -> None:
        """Take the names of a bundle's classes where the collection itself has none: they were too long to store."""
        if self.label_names is None and names is not None:
            self.label_names = tuple(names)

    def names_of(self, labels: Sequence[Any]) -> list[Any]:
        """Return an item's labels by name; class numbers of an old collection stay where their names are not known."""
        return list(labels) if self.labels_by_name else label_forms.names_of(labels, self.label_names or ())

    def count(self, filter: str = "") -> int:
        """Return the number of rows, or of those that match a filter."""
        with self._using(filter):
            return lookups.count(self.connection, self.collection, filter)

    def field_names(self) -> list[str]:
        """Return the fields that filters and outputs can name.

        These are the fields of the schema without the codes, and those of the payload of the first 16,384 rows.
        """
        return stored_rows.field_names(self.connection, self.collection, self.description)

    def _code(self, name: str | None) -> str:
        if name is None and len(self.codes) == 1:
            return self.codes[0]
        if name not in self.codes:
            wrong = "holds several codes, choose one" if name is None else f"holds no code '{name}'"
            raise InputError(f"collection '{self.collection}' {wrong}: {', '.join(self.codes)}.")
        return name

    def _bytes(self, codes: Codes) -> list[bytes]:
        return code_bytes(self.description.cut(codes), self.bits)

    @contextmanager
    def _using(self, expression: str) -> Iterator[None]:
        """Blame the filter where Milvus cannot parse or evaluate it, or where it asks for labels in the wrong form."""
        label_forms.check_filter(expression, self.collection, self.label_names or (), by_name=self.labels_by_name)
        try:
            yield
        except MilvusError as error:
            reason = refused_expression(error) if expression.strip() else None
            if reason is not None:
                raise InputError(
                    f"the filter `{expression}` cannot be used ({reason}). "
                    f"There are the fields {', '.join(self.field_names())}; "
                    f"write, for example, {has(self.modalities[0])} == true."
                ) from error
            raise

    def _check_names(self, expression: str) -> None:
        """Raise InputError where a filter that nothing matched names an unknown field: Milvus takes any name."""
        known = self.field_names()
        unknown = [name for name in filters.names_in(expression) if name not in known]
        if unknown:
            raise InputError(
                f"the filter `{expression}` names '{unknown[0]}', which no item has; there is {', '.join(known)}."
            )
