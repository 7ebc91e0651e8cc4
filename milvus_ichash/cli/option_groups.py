"""Options that belong together: a dataclass declares them once, and each command that takes the dataclass has them.

@dataclass(frozen=True)
class MilvusOptions:
    uri: Annotated[str | None, typer.Option("--uri")] = None
    token: Annotated[str | None, typer.Option("--token")] = None


def delete(collection: str = "items", *, milvus: MilvusOptions) -> None: ...


app.command()(expanded(delete))  # has --collection, --uri and --token; `delete` is called with a MilvusOptions
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints

from milvus_ichash.errors import InputError


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """Return a function for Typer that has an option for each field of the command's groups, and calls the command.

    A parameter of the command whose type is a dataclass is a group. Its options stand where the parameter stands, with
    the names, annotations and defaults of the fields. All other parameters stay as they are.
    """
    signature = inspect.signature(command, eval_str=True)
    types = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    groups = {name: group for name, group in types.items() if isinstance(group, type) and is_dataclass(group)}
    parameters = [
        expanded_parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in signature.parameters.items()
        for expanded_parameter in (_options(groups[name]) if name in groups else [parameter])
    ]

    @wraps(command)
    def call(**values: Any) -> None:
        built = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**values, **built)

    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call


def given(group: object, *only: str) -> list[str]:
    """Return those options of a group that have another value than their default, as people write them: "--uri".

    With names of fields, only these are looked at.
    """
    annotations = get_type_hints(type(group), include_extras=True)
    return [
        # An option of an annotation keeps its first name where others keep their default.
        annotations[field.name].__metadata__[0].default
        for field in fields(group)  # type: ignore[arg-type]
        if (not only or field.name in only) and getattr(group, field.name) != field.default
    ]


def refuse_given(options: Sequence[str], why: str) -> None:
    """Raise InputError where there are such options, which would do nothing; `why` says what they go with."""
    if options:
        raise InputError(f"{' and '.join(options)} would do nothing here: {why}.")


def _options(group: type[Any]) -> Iterator[inspect.Parameter]:
    annotations = get_type_hints(group, include_extras=True)
    for field in fields(group):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotations[field.name]
        )
