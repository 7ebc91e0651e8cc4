"""`milvus-ichash doctor`: what is installed, whether Milvus is reached, and what to do about the rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milvus_ichash.cli.options import MilvusOptions
from milvus_ichash.cli.output import FormatOptions
from milvus_ichash.errors import BackendMissingError, IchashError, InputError

if TYPE_CHECKING:
    from milvus_ichash.settings import MilvusSettings

_OPTIONAL = {
    "torch": "train",
    "safetensors": "train",
    "onnx": "train",
    "onnxscript": "train",
    "pillow": "pictures",
    "h5py": "files",
    "scipy": "files",
    "matplotlib": "plot",
}


@dataclass(frozen=True)
class Check:
    """A line of the report. An `exit_code` other than 0 fails the command."""

    name: str
    found: str
    cure: str = ""
    exit_code: int = 0

    @property
    def status(self) -> str:
        """The word "ok", "warning" (something could be done, nothing has to be) or "failed"."""
        if self.exit_code:
            return "failed"
        return "warning" if self.cure else "ok"


def doctor(
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", "-b", help="Also check the files of this bundle, open it, and check its codes."),
    ] = None,
    *,
    milvus: MilvusOptions,
    output: FormatOptions,
) -> None:
    """Check the installation, the settings, and whether Milvus can be reached.

    Of a bundle, the files are compared with their sha256, and the codes of a few items with those that stand in it.
    No database file is created; one that is there is searched for damage. Exit code 6: a backend is missing; 3: Milvus
    was not reached, or its file is damaged; 2: a setting or the bundle cannot be used.

    Example:

        milvus-ichash doctor --uri http://localhost:19530 --bundle ./bundle
    """
    checks = [_versions(), _pymilvus(), *_onnxruntime(), _optional()]
    try:
        settings = milvus.settings()
    except IchashError as error:
        checks.append(Check("settings", "cannot be used", str(error), error.exit_code))
    else:
        checks += [Check(f"setting {name}", value) for name, value in settings.shown().items()]
        checks.append(lite := _lite(settings.is_lite))
        if not lite.exit_code:
            checks.append(_milvus(settings))
    if bundle is not None:
        checks += _bundle(bundle)
    output.emit([{"check": c.name, "status": c.status, "found": c.found, "what to do": c.cure} for c in checks])
    worst = max(c.exit_code for c in checks)
    if worst:
        raise typer.Exit(worst)


def _versions() -> Check:
    import platform

    from milvus_ichash.version import __version__

    return Check(
        "milvus-ichash", f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )


def _pymilvus() -> Check:
    from milvus_ichash.extras import numbers_of, version_of

    version = version_of("pymilvus")
    if version is None:
        return Check("pymilvus", "not installed", "pip install 'pymilvus>=2.6,<4'", BackendMissingError.exit_code)
    if not (2, 6) <= numbers_of(version) < (4,):
        return Check("pymilvus", version, "this program is made for 2.6 to 3.x: pip install 'pymilvus>=2.6,<4'")
    return Check("pymilvus", version)


def _onnxruntime() -> list[Check]:
    from milvus_ichash.runtime.onnxruntime_module import installed_distributions, load_onnxruntime, several_installed
    from milvus_ichash.runtime.session import cuda_problem

    installed = ", ".join(f"{name} {version}" for name, version in installed_distributions().items())
    try:
        onnxruntime = load_onnxruntime()
        available = onnxruntime.get_available_providers()
        problem = cuda_problem()
    except BackendMissingError as error:
        return [Check("onnxruntime", installed or "not installed", str(error), error.exit_code)]
    # Without the GPU wheel there is no CUDA, and nothing wrong with that.
    wanted = "CUDAExecutionProvider" in available
    cure = (
        "pip install 'onnxruntime-gpu[cuda,cudnn]', check nvidia-smi; or choose --device cpu"
        if wanted and problem
        else ""
    )
    built = getattr(onnxruntime, "cuda_version", "") or "none"
    return [
        Check(
            "onnxruntime",
            f"{installed or 'of unknown origin'} ({', '.join(available)}), cuda_version {built}",
            several_installed() or "",
        ),
        Check("CUDA", "usable" if problem is None else f"not usable: {problem}", cure),
    ]


def _optional() -> Check:
    from milvus_ichash.extras import version_of

    found = {name: version_of(name) for name in _OPTIONAL}
    shown = [
        f"{name} {version}" if version else f"{name} - (extra {_OPTIONAL[name]})" for name, version in found.items()
    ]
    return Check("optional packages", ", ".join(shown))


def _lite(needed: bool) -> Check:
    from milvus_ichash.extras import version_of

    found = version_of("milvus-lite") or "not installed"
    if not needed:
        return Check("milvus-lite", f"{found} (not needed for a server)")
    try:
        from milvus_ichash.index.lite import lite_version

        lite_version()
    except ImportError as error:  # also where the platform has no file locks
        return Check("milvus-lite", found, str(error), BackendMissingError.exit_code)
    return Check("milvus-lite", found)


def _milvus(settings: MilvusSettings) -> Check:
    from milvus_ichash.temporary import TemporaryFolder

    database = Path(settings.uri).expanduser()
    if not settings.is_lite or database.exists() or not database.parent.is_dir():
        return _connection(settings)
    # Connecting would make the file: one of the same name elsewhere, for a moment, shows as well that Lite works.
    with TemporaryFolder() as folder:
        check = _connection(settings.model_copy(update={"uri": str(folder / database.name)}))
    if check.exit_code:
        return check
    return Check("Milvus", f"{check.found}; '{settings.address}' is not there yet, the first ingest makes it")


def _connection(settings: MilvusSettings) -> Check:
    from milvus_ichash.index.connection import connect

    try:
        with connect(settings, thorough=True) as connection:
            version = connection.server_version
            if not connection.is_lite:
                return Check("Milvus", f"reached, server {version}")
            from milvus_ichash.index.lite_file import database_path, may_write

            state = "whole" if may_write(database_path(settings.uri)) else "whole, and write-protected"
            return Check("Milvus", f"reached, Lite {version}; its file is {state}")
    except IchashError as error:
        return Check("Milvus", "not reached", str(error), error.exit_code)


def _bundle(folder: Path) -> list[Check]:
    from milvus_ichash.bundle import verify
    from milvus_ichash.runtime.encoder import HashEncoder
    from milvus_ichash.runtime.self_test import compare_golden_codes

    try:
        manifest = verify(folder)
        takes = ", ".join(manifest.dims)
        found = f"{manifest.method}, {manifest.bits} bits, fingerprint {manifest.fingerprint}, takes {takes}"
        encoder = HashEncoder.load(folder)
    except InputError as error:
        return [Check("bundle", "cannot be used", str(error), error.exit_code)]
    except BackendMissingError:
        # Reported above already, with its cure.
        return [Check("bundle", f"{found}; files are whole, not opened")]
    opened = Check("bundle", f"{found}; opens on {encoder.device}")
    try:
        bits = compare_golden_codes(encoder, folder)
    except InputError as error:
        return [opened, Check("codes", "not as where the bundle was exported", str(error), error.exit_code)]
    # A bundle of format 1 has no golden vectors, and nothing is wrong with that.
    compared = (
        "not compared: the bundle has no golden vectors"
        if bits is None
        else f"as where the bundle was exported, {bits} bits"
    )
    return [opened, Check("codes", compared)]
