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
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeGuard

from ichash_export.methods.citation import Citation
from milvus_ichash.errors import InputError

if TYPE_CHECKING:
    from ichash_export.methods.base import Method

ENTRY_POINTS = "milvus_ichash.methods"
_FOLDER = Path(__file__).parent
_NO_METHODS = {"base", "batches", "citation", "registry", "__init__"}


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
    if name not in places:
        _unknown(name, list(places))
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


def _unknown(name: str, names: list[str]) -> NoReturn:
    close = difflib.get_close_matches(name.lower(), names, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    raise InputError(f"there is no method '{name}'; there are: {', '.join(sorted(names))}.{hint}")


def _parse(name: str, module: str, path: Path) -> MethodInfo:
    try:
        tree = ast.parse(path.read_text("utf-8"), str(path))
    except SyntaxError as error:
        raise InputError(f"method '{name}': '{path}' is not Python, line {error.lineno}: {error.msg}.") from error
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = [node for node in classes if "family" in _constants(node)]
    if len(methods) != 1:
        raise InputError(
            f"method '{name}': '{path}' must have exactly one class that states its `family`; it has {len(methods)}."
        )
    constants = _constants(methods[0])
    return MethodInfo(
        name=name,
        module=module,
        class_name=methods[0].name,
        family=constants["family"],
        description=_first_line(tree).removeprefix(f"{methods[0].name}: "),
        citation=_citation(methods[0]),
        settings=_settings(methods[0], classes),
    )


def _first_line(tree: ast.Module) -> str:
    return (ast.get_docstring(tree) or "").split("\n")[0].rstrip(".")


def _constants(node: ast.ClassDef) -> dict[str, str]:
    """Class attributes that are plain strings."""
    found = {}
    for target, _, value in _assignments(node):
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found[target] = value.value
    return found


def _citation(node: ast.ClassDef) -> Citation | None:
    """The `Citation(...)` of a class, whose arguments are literals."""
    for name, _, value in _assignments(node):
        if name == "citation" and isinstance(value, ast.Call):
            return Citation(
                *[ast.literal_eval(argument) for argument in value.args],
                **{keyword.arg: ast.literal_eval(keyword.value) for keyword in value.keywords if keyword.arg},
            )
    return None


def _assignments(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr | None, ast.expr]]:
    """(name, annotation, value) of every assignment in a class body."""
    for statement in node.body:
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and statement.value is not None
        ):
            yield statement.target.id, statement.annotation, statement.value
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            yield statement.targets[0].id, None, statement.value


def _settings(method: ast.ClassDef, classes: list[ast.ClassDef]) -> tuple[Setting, ...]:
    """The settings of the method's Config class: those of all configs first, then its own."""
    by_name = {node.name: node for node in classes} | {
        node.name: node for node in method.body if isinstance(node, ast.ClassDef)
    }
    base = ast.parse((_FOLDER / "base.py").read_text("utf-8"))
    by_name["MethodConfig"] = next(
        node for node in base.body if isinstance(node, ast.ClassDef) and node.name == "MethodConfig"
    )
    stated = next(
        (value.id for name, _, value in _assignments(method) if name == "Config" and isinstance(value, ast.Name)), None
    )
    wanted = stated or ("Config" if "Config" in by_name else "MethodConfig")
    chain: list[ast.ClassDef] = []
    while wanted in by_name:
        chain.insert(0, by_name[wanted])
        wanted = next((b.id for b in by_name[wanted].bases if isinstance(b, ast.Name)), "")
    settings: dict[str, Setting] = {}
    for node in chain:
        notes = _notes(node)
        for name, annotation, value in _assignments(node):
            if annotation is not None and not ast.unparse(annotation).startswith("ClassVar"):
                inherited = settings[name].description if name in settings else ""
                settings[name] = Setting(
                    name, ast.unparse(annotation), _default(value), notes.get(name, inherited), _source(value)
                )
    return tuple(settings.values())


def _default(value: ast.expr) -> str:
    """The default as written: `setting(0.5, ge=0)`, `Field(0.5, ge=0)` and `0.5` are all 0.5."""
    if _is_call(value, "Field", "setting"):
        given = [k.value for k in value.keywords if k.arg in ("default", "default_factory")]
        value = value.args[0] if value.args else given[0] if given else ast.Constant(...)
    return ast.unparse(value)


def _source(value: ast.expr) -> str:
    """Where the default is from, by the second argument of `setting`, which is "ours" where it is left out."""
    if not _is_call(value, "setting"):
        return ""
    given = [*value.args[1:2], *[k.value for k in value.keywords if k.arg == "source"]]
    return str(ast.literal_eval(given[0])) if given else "ours"


def _is_call(value: ast.expr, *names: str) -> TypeGuard[ast.Call]:
    """Whether this is a call of one of these functions."""
    return isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] in names


def _notes(node: ast.ClassDef) -> dict[str, str]:
    """Strings that stand below an assignment, and `description=` of a Field, by the name of the setting."""
    notes = {}
    for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        name, value = statement.target.id, statement.value
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            notes[name] = " ".join(after.value.value.split())
        elif isinstance(value, ast.Call):
            given = [k.value for k in value.keywords if k.arg == "description"]
            if given and isinstance(given[0], ast.Constant):
                notes[name] = str(given[0].value)
    return notes
