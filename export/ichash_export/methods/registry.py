"""Which methods there are: files of this folder, folders with a `method.py`, entry points `milvus_ichash.methods`.

Everything that can be said of a method without training it is read from its file's text, so that listing the methods
needs no torch:

    module docstring     the first line is the description
    class attributes     `family` and `citation` of the one class that states a `family`
    `<...>Config` class  the settings with their types, defaults and where these are from; a string below a setting
                         describes it
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ichash_export.methods.citation import Citation
from milvus_ichash.errors import InputError, check_known

if TYPE_CHECKING:
    from ichash_export.methods.base import Method

ENTRY_POINTS = "milvus_ichash.methods"
_FOLDER = Path(__file__).parent
_NO_METHODS = {"base", "batches", "citation", "registry", "words", "__init__"}


@dataclass(frozen=True)
class Setting:
    """One setting of a method's Config, as its file writes it."""

    name: str
    type: str
    default: str
    description: str = ""
    source: str = ""
    """Where the default is from: "paper", "public code" or "ours"; empty where the file does not say."""


@dataclass(frozen=True)
class MethodInfo:
    """What a method's file says about it."""

    name: str
    module: str
    class_name: str
    family: str
    description: str
    citation: Citation | None
    settings: tuple[Setting, ...]


def method_names() -> list[str]:
    """Return the names of all methods, sorted."""
    return sorted(_places())


def describe(name: str) -> MethodInfo:
    """Return what a method's file says about it, without importing it.

    Raises:
        InputError: where there is no such method, or its file does not define one.
    """
    module, path = _place(name)
    return _parse(name, module, path)


def load(name: str) -> type[Method]:
    """Import a method (torch with it) and return its class.

    Raises:
        InputError: where there is no such method, or its file does not define one.
    """
    from ichash_export.methods.base import Method

    info = describe(name)
    found: type[Method] = getattr(import_module(info.module), info.class_name)
    if not issubclass(found, Method):
        raise InputError(
            f"method '{name}': {info.module}.{info.class_name} does not derive from ichash_export.methods.base.Method."
        )
    return found


def _places() -> dict[str, tuple[str, Path | None]]:
    """Name -> (module, file); the file of an entry point is looked up only when it is asked for."""
    places: dict[str, tuple[str, Path | None]] = {e.name: (e.module, None) for e in entry_points(group=ENTRY_POINTS)}
    for path in _FOLDER.glob("*.py"):
        if path.stem not in _NO_METHODS and not path.stem.startswith("_"):
            places[path.stem] = (f"ichash_export.methods.{path.stem}", path)
    for path in _FOLDER.glob("*/method.py"):
        places[path.parent.name] = (f"ichash_export.methods.{path.parent.name}.method", path)
    return places


def _place(name: str) -> tuple[str, Path]:
    places = _places()
    check_known(name, sorted(places), "method")
    module, path = places[name]
    if path is None:
        spec = find_spec(module)
        if spec is None or spec.origin is None:
            raise InputError(
                f"method '{name}' is announced by the entry point '{module}', which cannot be found: install its "
                "package again."
            )
        path = Path(spec.origin)
    return module, path


def _parse(name: str, module: str, path: Path) -> MethodInfo:
    try:
        tree = ast.parse(path.read_text("utf-8"), str(path))
    except SyntaxError as error:
        raise InputError(f"method '{name}': '{path}' is not Python, line {error.lineno}: {error.msg}.") from error
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = [node for node in classes if "family" in _attributes(node)]
    if len(methods) != 1:
        raise InputError(
            f"method '{name}': '{path}' must have exactly one class that states its `family`; it has {len(methods)}."
        )
    method, stated = methods[0], _attributes(methods[0])
    first_line = (ast.get_docstring(tree) or "").split("\n")[0].rstrip(".")
    return MethodInfo(
        name=name,
        module=module,
        class_name=method.name,
        family=ast.literal_eval(stated["family"].value),
        description=first_line.removeprefix(f"{method.name}: "),
        citation=_citation(stated["citation"].value) if "citation" in stated else None,
        settings=_settings(method, classes),
    )


@dataclass(frozen=True)
class _Attribute:
    """An attribute that a class body assigns."""

    annotation: str
    """Its type as written; empty where there is none."""
    value: ast.expr
    note: str
    """The string that stands below it."""


def _attributes(node: ast.ClassDef) -> dict[str, _Attribute]:
    """Return the attributes of a class, by name."""
    found = {}
    for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
            continue
        target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
        annotation = ast.unparse(statement.annotation) if isinstance(statement, ast.AnnAssign) else ""
        below = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
        found[ast.unparse(target)] = _Attribute(annotation, statement.value, " ".join(str(below).split()))
    return found


def _citation(value: ast.expr) -> Citation | None:
    """Return the `Citation(...)` as written, whose arguments are literals."""
    if not isinstance(value, ast.Call):
        return None
    given = {k.arg: ast.literal_eval(k.value) for k in value.keywords if k.arg}
    return Citation(*[ast.literal_eval(argument) for argument in value.args], **given)


def _settings(method: ast.ClassDef, classes: list[ast.ClassDef]) -> tuple[Setting, ...]:
    """Return the settings of the method's Config class: those of all configs first, then its own."""
    base = ast.parse((_FOLDER / "base.py").read_text("utf-8"))
    nodes = [*base.body, *classes, *method.body]
    by_name = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    stated = _attributes(method).get("Config")
    wanted = ast.unparse(stated.value) if stated else "Config" if "Config" in by_name else "MethodConfig"
    chain: list[dict[str, _Attribute]] = []
    while wanted in by_name:
        chain.insert(0, _attributes(by_name[wanted]))
        wanted = next(map(ast.unparse, by_name[wanted].bases), "")
    settings: dict[str, Setting] = {}
    for name, attribute in [item for attributes in chain for item in attributes.items()]:
        if attribute.annotation and not attribute.annotation.startswith("ClassVar"):
            inherited = settings[name].description if name in settings else ""
            settings[name] = _setting(name, attribute, inherited)
    return tuple(settings.values())


def _setting(name: str, attribute: _Attribute, inherited: str) -> Setting:
    """Return the default as written: 0.5 for `setting(0.5, "paper", ge=0)`, `Field(0.5, ge=0)` and `0.5`."""
    value, kind, description = attribute.value, attribute.annotation, attribute.note or inherited
    function = ast.unparse(value.func).split(".")[-1] if isinstance(value, ast.Call) else ""
    if not isinstance(value, ast.Call) or function not in ("setting", "Field"):
        return Setting(name, kind, ast.unparse(value), description)
    given = dict(zip(("default", "source"), value.args, strict=False)) | {
        k.arg: k.value for k in value.keywords if k.arg
    }
    default = given.get("default", given.get("default_factory", ast.Constant(...)))
    said = {part: ast.literal_eval(given[part]) for part in ("source", "description") if part in given}
    source = said.get("source", "ours") if function == "setting" else ""
    return Setting(name, kind, ast.unparse(default), attribute.note or said.get("description", inherited), source)
