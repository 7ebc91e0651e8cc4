"""The examples in docstrings run and print what they say: three lines for each method, and those of citations."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest
from support.tiny import make_table

from ichash_export.methods import citation, registry


@pytest.mark.parametrize("name", registry.method_names())
def test_the_example_of_a_method(name: str) -> None:
    module = import_module(registry.describe(name).module)
    (example,) = doctest.DocTestFinder().find(module, module.__name__, globs={"table": make_table(120)})[:1]
    assert doctest.DocTestRunner().run(example) == (0, len(example.examples))
    assert any(f'train(table, "{name}"' in line.source for line in example.examples)


def test_the_examples_of_citations() -> None:
    failed, tried = doctest.testmod(citation)
    assert (failed, tried > 0) == (0, True)
