"""HashEncoder: an opened bundle that turns features into packed hash codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from milvus_ichash.bundle import ENCODER, PRESENT, Manifest, verify
from milvus_ichash.choices import Device
from milvus_ichash.codes import Codes, cut, pack
from milvus_ichash.errors import InputError, MismatchError
from milvus_ichash.features import Features, FeatureTable
from milvus_ichash.runtime.batches import Batches
from milvus_ichash.runtime.inputs import check_table, checked_rows, table_of_arrays
from milvus_ichash.runtime.raw_input import RawInput
from milvus_ichash.runtime.session import device_of, fits, open_session, run

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class HashEncoder:
    """Turns items into hash codes, whatever modalities they lack. Open one with `HashEncoder.load`.

    An encoder may be used from several threads at once, and can be pickled: the copy opens the same bundle again.

    Attributes:
        manifest: what the bundle says of itself.
        bits: length of the codes that come out, one of `manifest.lengths`: the first bits of the bundle's codes.
        device: "cpu" or "cuda", where the graph really runs.
        raw: turns words and pictures into features (`runtime.raw_input.RawInput`).
    """

    manifest: Manifest
    bits: int
    device: Literal["cpu", "cuda"]
    raw: RawInput

    def __init__(
        self, bundle: Path, manifest: Manifest, session: InferenceSession, raw: RawInput, batch_size: int, bits: int
    ) -> None:
        self.manifest = manifest
        self.bits = bits
        self.device = device_of(session)
        self.raw = raw
        self._batches = Batches(batch_size, self.device)
        self._bundle = bundle
        self._session = session
        # What stands in for a modality that is not given; the graph masks it.
        self._blank = {name: np.zeros((0, dim), np.float32) for name, dim in manifest.dims.items()}

    @classmethod
    def load(
        cls,
        bundle: str | Path,
        *,
        device: Device = "auto",
        batch_size: int = 1024,
        threads: int | None = None,
        bits: int | None = None,
    ) -> HashEncoder:
        """Open a bundle: hold its files against their sha256, and its graph against the manifest.

        Args:
            bundle: the folder.
            device: "cpu", "cuda" (an error where it cannot be had), or "auto" (CUDA where it works, else the CPU).
            batch_size: rows that go through the graph at once; larger inputs are encoded in several steps. Where
                memory does not suffice, half as many go through, and so on.
            threads: threads of onnxruntime on the CPU; None: all cores.
            bits: cut the codes to this length, one of those that the bundle was trained for (`Manifest.lengths`); None:
                whole codes.

        Raises:
            InputError: no bundle, a damaged one, a graph that does not fit its manifest, or codes that cannot be cut
                so.
            BackendMissingError: onnxruntime or CUDA is needed and not there.
        """
        if batch_size < 1:
            raise InputError(f"a batch size of {batch_size} cannot encode anything: take 1 or more.")
        manifest = verify(bundle)
        length = manifest.length(bits)
        folder = Path(bundle).resolve()
        session = open_session(folder / ENCODER, device=device, threads=threads)
        _check_graph(folder / ENCODER, session, manifest)
        raw = RawInput(folder, manifest, device=device, threads=threads)
        return cls(folder, manifest, session, raw, batch_size, length)

    @property
    def batch_size(self) -> int:
        """Rows that go through the graph at once; fewer than asked for where memory did not suffice."""
        return self._batches.size

    def cut(self, bits: int | None) -> HashEncoder:
        """Return the same encoder, with the same open graph and codes of this length (None: whole codes).

        Raises:
            InputError: the bundle was not trained for it.
        """
        length = self.manifest.length(bits)
        return (
            self
            if length == self.bits
            else HashEncoder(self._bundle, self.manifest, self._session, self.raw, self.batch_size, length)
        )

    def encode(self, /, present: npt.ArrayLike | None = None, **features: npt.ArrayLike | None) -> dict[str, Codes]:
        """Return the hash codes of B items.

        Args:
            present: bool (B, M), columns in the manifest's order of modalities; False = missing, whatever the row
                holds.
            features: one (B, D_m) array of numbers per modality, by its name. A modality that is not given (or None) is
                missing in all rows, a row that is all NaN is missing in that item. A vector (D_m,) is refused: it may
                be one item or many.

        Returns:
            uint8 (B, bits / 8) for each code of the bundle, by its name.

        Raises:
            InputError: an unknown modality, a wrong shape, NaN or infinity in part of a row, a row without any
                modality.
        """
        return self._codes(table_of_arrays(self.manifest.dims, features, present))

    def relaxed(self, /, present: npt.ArrayLike | None = None, **features: npt.ArrayLike | None) -> dict[str, Features]:
        """Return the relaxed codes, whose signs are the bits: float32 (B, bits) by the code's name.

        Arguments and errors are those of `encode`.
        """
        table = table_of_arrays(self.manifest.dims, features, present)
        return self._run(table, "_relaxed", self.bits, np.float32)

    def encode_table(self, table: FeatureTable) -> dict[str, Codes]:
        """Return the hash codes of a table's items: uint8 (N, bits / 8) by the code's name.

        The table may lack modalities of the bundle; one that the bundle does not know is refused, since it is most
        likely a known one under another name.

        Raises:
            InputError: as `encode`; rows are named by their number in the file and their id.
        """
        check_table(self.manifest.dims, table)
        return self._codes(table)

    def _codes(self, table: FeatureTable) -> dict[str, Codes]:
        return self._run(table, "", self.bits // 8, np.uint8)

    def _run(
        self, table: FeatureTable, suffix: str, width: int, dtype: type[np.generic]
    ) -> dict[str, npt.NDArray[Any]]:
        names = [code.name for code in self.manifest.codes]
        outputs, dims = [name + suffix for name in names], tuple(self.manifest.dims)
        if not len(table):
            return {name: np.empty((0, width), dtype) for name in names}

        def run_rows(start: int, stop: int) -> list[npt.NDArray[Any]]:
            batch = checked_rows(table, start, stop)
            given = {name: np.ascontiguousarray(x) for name, x in batch.features.items()}
            blank = {name: self._blanks(name, len(batch)) for name in dims if name not in given}
            feeds = {**given, **blank, PRESENT: batch.present_for(dims)}
            found = run(self._session, outputs, feeds)
            if any(codes.ndim != 2 or len(codes) != len(batch) or codes.shape[1] < width for codes in found):
                raise InputError(f"'{self._bundle / ENCODER}' does not make one code for each row: export it again.")
            return [cut(codes, width) for codes in found]

        parts = self._batches.run(len(table), run_rows)
        if len(parts) == 1:
            return dict(zip(names, parts[0], strict=True))
        return {name: np.concatenate(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)}

    def _blanks(self, name: str, rows: int) -> Features:
        blank = self._blank[name]
        if len(blank) < rows:
            self._blank[name] = blank = np.zeros((rows, blank.shape[1]), np.float32)
        return blank[:rows]

    def __reduce__(self) -> tuple[Callable[..., HashEncoder], tuple[Any, ...]]:
        return _reopen, (
            str(self._bundle),
            self.raw.device,
            self.batch_size,
            self.raw.threads,
            self.bits,
            self.manifest.fingerprint,
        )

    def __repr__(self) -> str:
        m = self.manifest
        what = f"method={m.method!r}, bits={self.bits}, modalities={m.dims}, device={self.device!r}"
        return f"HashEncoder({str(self._bundle)!r}, {what})"


def _reopen(
    bundle: str, device: Device, batch_size: int, threads: int | None, bits: int, fingerprint: str
) -> HashEncoder:
    encoder = HashEncoder.load(bundle, device=device, batch_size=batch_size, threads=threads)
    if encoder.manifest.fingerprint != fingerprint:
        raise MismatchError(
            f"bundle '{bundle}' is now {encoder.manifest.fingerprint}; "
            f"the encoder that was pickled came from {fingerprint}: load it anew."
        )
    return encoder.cut(bits)


def _check_graph(path: Path, session: InferenceSession, manifest: Manifest) -> None:
    """Compare the graph with the manifest, by its declarations and by encoding three rows.

    Raises:
        InputError: names what differs.
    """
    inputs = {**dict.fromkeys(manifest.dims, "float32"), PRESENT: "bool"}
    widths = {**manifest.dims, PRESENT: len(manifest.dims)}
    outputs = {code.name: "uint8" for code in manifest.codes} | {
        f"{code.name}_relaxed": "float32" for code in manifest.codes
    }
    found_in, found_out = (
        {node.name: node for node in nodes} for nodes in (session.get_inputs(), session.get_outputs())
    )
    if set(found_in) != set(inputs) or not set(outputs) <= set(found_out):
        raise InputError(
            f"'{path}' does not fit its manifest: it takes {', '.join(found_in)} and gives {', '.join(found_out)}, "
            f"the manifest says {', '.join(inputs)} and {', '.join(outputs)}. Export the bundle again."
        )
    widths |= {name: manifest.bits // 8 if kind == "uint8" else manifest.bits for name, kind in outputs.items()}
    for name, kind in (inputs | outputs).items():
        node = found_in.get(name) or found_out[name]
        if not fits(node, kind, widths[name]):
            raise InputError(
                f"'{path}' does not fit its manifest: '{name}' is {node.type} {node.shape}, "
                f"the manifest says {kind} (batch, {widths[name]}). Export the bundle again."
            )
    _try_rows(path, session, manifest)


def _try_rows(path: Path, session: InferenceSession, manifest: Manifest) -> None:
    # A graph exported from a batch of 1 may promise any batch and fail at the next size.
    rng = np.random.default_rng(0)
    feeds: dict[str, npt.NDArray[Any]] = {
        name: rng.standard_normal((3, dim), np.float32) for name, dim in manifest.dims.items()
    }
    feeds[PRESENT] = np.ones((3, len(manifest.dims)), np.bool_)
    for code in manifest.codes:
        bits, relaxed = run(session, [code.name, f"{code.name}_relaxed"], feeds)
        if relaxed.shape != (3, manifest.bits) or not np.array_equal(bits, pack(relaxed)):
            raise InputError(
                f"'{path}' packs '{code.name}' by another size or bit rule than its manifest: export the bundle again."
            )
