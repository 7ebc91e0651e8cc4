# make demo    the clip-art demo, from nothing to a page with search results
# make test    linters, types and all tests; those of a Milvus server against one in a closed network of its own, or MILVUS_URI
# make quick   linters, types and the tests that take no longer than a moment: for the time between two edits
# make lint    linters, types, the rooms' import contracts, and whether the generated documents are up to date
# make format  put the code into the form that `make lint` asks for, and write the generated documents anew
# make server  a Milvus server to try things with, for COMMAND only, or for a shell (Linux; it is reached from nowhere else)
# make fuzz    ten minutes (MINUTES=..., SEED=...) of hostile files for every reader; what fails is kept in tests/fuzz/found
# make chaos   an hour (CHAOS_MINUTES=..., SEED=...) of kills, several writers and damaged files, on Milvus Lite and a server of its own
# make bench   the speed figures of docs/benchmarks.md
#
# Each sets up its own environment in $(VENV). PYTHON=... takes another interpreter; where that one has torch already,
# its torch is used and none is installed.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test quick test-main test-server test-pymilvus-2.6 server fuzz chaos bench lint format clean

demo: $(VENV)/demo.stamp
	PATH="$(abspath $(BIN)):$$PATH" examples/clipart/run.sh

# Tests of a server mostly wait for it, so all parts run side by side; what two of them print comes when all are through.
LOGS = $(VENV)/test-server.log $(VENV)/test-pymilvus-2.6.log
test: lint $(VENV)/pymilvus-2.6.stamp
	$(MAKE) --no-print-directory test-server > $(word 1,$(LOGS)) 2>&1 & server=$$!; \
	$(MAKE) --no-print-directory test-pymilvus-2.6 > $(word 2,$(LOGS)) 2>&1 & other=$$!; trap 'kill $$server $$other' INT TERM; \
	$(MAKE) --no-print-directory test-main; main=$$?; wait $$server; server=$$?; wait $$other; other=$$?; \
	cat $(LOGS); exit $$((main | server | other))

# Tests run in WORKERS processes, a file of them in one, so that what a file sets up is set up once.
WORKERS ?= 2
MAIN = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --ignore=tests/benchmarks --ignore=tests/server
test-main: $(VENV)/dev.stamp
	$(MAIN) $(PYTEST_ARGS)

quick: lint
	$(MAIN) -m "not slow" $(PYTEST_ARGS)

# The test server listens on all interfaces, so it runs where there is none but a loopback, and the tests with it. They
# share one server, which waits for its own clock most of the time.
CLOSED = $(BIN)/python tests/support/closed_network.py
WITH_SERVER = $(CLOSED) $(BIN)/python tests/support/milvus_server.py
IN_CLOSED = if [ -z "$$MILVUS_URI" ] && $(CLOSED) true; then set -- $(WITH_SERVER) "$$@"; fi; "$$@"
SERVER_WORKERS = -n 2 --dist loadfile

test-server: $(VENV)/dev.stamp
	set -- $(BIN)/python -m pytest $(SERVER_WORKERS) tests/server; $(IN_CLOSED)

# All tests run with the newest pymilvus; these are those that talk to Milvus most.
OTHER = PYTHONPATH=$(abspath $(VENV))/pymilvus-2.6 $(BIN)/python -m pytest
test-pymilvus-2.6: $(VENV)/pymilvus-2.6.stamp
	$(OTHER) tests/milvus_ichash/index tests/milvus_ichash/ingestion
	set -- env $(OTHER) $(SERVER_WORKERS) tests/server/test_index_on_a_server.py tests/server/test_traps.py; $(IN_CLOSED)

$(VENV)/pymilvus-2.6.stamp: $(VENV)/dev.stamp
	$(BIN)/pip install -q --no-deps --target $(VENV)/pymilvus-2.6 'pymilvus==2.6.*'
	touch $@

server: $(VENV)/dev.stamp
	PATH="$(abspath $(BIN)):$$PATH" $(WITH_SERVER) $(COMMAND)

MINUTES ?= 10
fuzz: $(VENV)/dev.stamp
	$(BIN)/python tests/fuzz/run.py --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# It starts a server of its own, to kill it, so not WITH_SERVER.
CHAOS_MINUTES ?= 60
chaos: $(VENV)/dev.stamp
	ICHASH_CHAOS_EXAMPLES=100 $(BIN)/python -m pytest -q tests/chaos/test_stateful.py
	set -- env PYTHONPATH=tests $(BIN)/python -m chaos.run --seconds $$(($(CHAOS_MINUTES) * 60)) $(if $(SEED),--seed $(SEED)); \
	if [ -z "$$MILVUS_URI" ] && $(CLOSED) true; then set -- $(CLOSED) "$$@"; fi; "$$@"

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python docs/generate.py

bench: $(VENV)/dev.stamp
	set -- $(BIN)/python -m pytest tests/benchmarks --benchmark-only -s $(PYTEST_ARGS); $(IN_CLOSED)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PYTHON) -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])' > $(VENV)/torch.path 2> /dev/null || true
	$(BIN)/python -c 'import pathlib, sysconfig; p = pathlib.Path("$(VENV)/torch.path").read_text(); p and pathlib.Path(sysconfig.get_path("purelib"), "borrowed_torch.pth").write_text(p)'

$(VENV)/%.stamp: pyproject.toml constraints.txt | $(VENV)/bin/python
	if [ -s $(VENV)/torch.path ]; then $(BIN)/pip install -q -e '.[$*]'; else $(BIN)/pip install -q -c constraints.txt -e '.[$*]'; fi
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks examples/clipart/out
