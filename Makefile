# `make` says what there is. Needs Python 3.11+, git and make; everything else is fetched, with pinned hashes.

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
# Baselines of the benchmarks, which want versions of their own.
BENCH_VENV  := .venv-bench
BENCH_STAMP := $(BENCH_VENV)/.installed
# The first that is there; Debian and friends have python3.11, newer systems a newer python3.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PYTEST_ARGS ?=
# Each has servers of its own (2 GB) and mostly waits; a file's tests stay together, and those that wait most come first.
TEST_WORKERS ?= 4

.DEFAULT_GOAL := help
.PHONY: help env demo up down test test-containers faults bench examples docs lint format schemas lock clean

help: ## this list
	@echo "Headrace turns web sites into searchable knowledge bases. Begin with:  make demo"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "The first start fetches Kafka and builds Weaviate (a few minutes); ~/.cache/headrace keeps both."
	@echo "While it runs, in another terminal:  $(BIN)/headrace --help"

env: $(STAMP) ## the Python environment in .venv, from requirements/lock.txt

# The project itself comes last and editable, so that a checkout is what runs.
$(STAMP): requirements/lock.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Headrace needs Python 3.11 or newer: make env PYTHON=/path/to/python3.11" >&2; exit 1; }
# Without pip it is one that was interrupted: venv mends it.
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "Making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing the pinned packages into $(VENV) (once; about a minute)"
	@$(BIN)/python requirements/install.py requirements/lock.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(BENCH_STAMP): requirements/bench.lock $(STAMP)
	@test -x $(BENCH_VENV)/bin/python || $(PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python requirements/install.py requirements/bench.lock
	@touch $@

demo: $(STAMP) ## start everything, ingest a sample site, ask it questions; Ctrl-C stops
	@$(BIN)/headrace demo

up: $(STAMP) ## start Kafka, Weaviate and the three services; Ctrl-C or `make down` stops
	@$(BIN)/headrace up

down: $(STAMP) ## stop what `make up` or `make demo` started
	@$(BIN)/headrace down

test: $(STAMP) ## every test, against a real Kafka and a real Weaviate (PYTEST_ARGS="-k name" for some)
	@$(BIN)/python -m headrace.embedded
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-containers: $(STAMP) ## the integration tests and docker-compose.yml on containers
	@docker/test-containers.sh $(PYTEST_ARGS)

# RUNS seeds from SEED on; a failing one is replayed alone with `make faults SEED=<seed> RUNS=1`.
SEED ?= 1
RUNS ?= 20

faults: $(STAMP) ## random faults against real processes: RUNS=200 SEED=1 (docs/faults.md)
	@$(BIN)/python -m headrace.embedded
	@$(BIN)/python -m tests.faults --seed $(SEED) --runs $(RUNS)

bench: $(STAMP) $(BENCH_STAMP) ## what is measured, each beside its baseline
	@$(BIN)/python -m bench

examples: $(BENCH_STAMP) ## the retrievers of examples/ against LangChain and LlamaIndex
	@PYTHONPATH=. $(BENCH_VENV)/bin/python examples/check.py

docs: $(STAMP) ## the documentation as a web site, in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet && echo "site/index.html"

lint: $(STAMP) ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP) ## let ruff put the code in shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

schemas: $(STAMP) ## write the JSON Schemas anew from the event types
	@$(BIN)/python -m schemas.generate

# uv resolves for every platform at once; the lock names no index, so that a mirror serves as well.
UV_COMPILE = uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11

lock: ## resolve pyproject.toml into requirements/ anew (needs uv on the PATH)
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	$(UV_COMPILE) --upgrade --extra dev --output-file requirements/lock.txt pyproject.toml
	$(UV_COMPILE) --upgrade --output-file requirements/go.lock requirements/go.in
	$(UV_COMPILE) --upgrade --output-file requirements/bench.lock requirements/bench.in
	@! grep -nE 'https?://' requirements/*.txt requirements/*.lock || { echo "a lock file names a host" >&2; exit 1; }

clean: ## remove the environment and what tools left; keeps ~/.cache/headrace and your data
	rm -rf $(VENV) $(BENCH_VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
