# make demo    the clip-art demo, from nothing to a page with search results
# make test    linters, types and all tests
# make bench   the speed figures of docs/benchmarks.md
#
# Each sets up its own environment in $(VENV). PYTHON=... takes another interpreter; where that one has torch already,
# its torch is used and none is installed.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test bench lint clean

demo: $(VENV)/demo.stamp
	PATH="$(abspath $(BIN)):$$PATH" examples/clipart/run.sh

test: lint
	$(BIN)/python -m pytest --ignore=tests/benchmarks $(PYTEST_ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/dev.stamp
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only -s $(PYTEST_ARGS)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PYTHON) -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])' > $(VENV)/torch.path 2> /dev/null || true
	$(BIN)/python -c 'import pathlib, sysconfig; p = pathlib.Path("$(VENV)/torch.path").read_text(); p and pathlib.Path(sysconfig.get_path("purelib"), "borrowed_torch.pth").write_text(p)'

$(VENV)/%.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	if [ -s $(VENV)/torch.path ]; then $(BIN)/pip install -q -e '.[$*]'; else $(BIN)/pip install -q -c constraints.txt -e '.[$*]'; fi
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks examples/clipart/out
