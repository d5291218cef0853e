# danlu: `make demo` shows the main job, `make test` tests it; both set everything up first. `make` lists the rest.

VENV ?= .venv
JOBS ?= 2
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
READY := $(VENV)/.danlu-ready

export PYRIGHT_PYTHON_IGNORE_WARNINGS = 1 # no look at the network for a newer pyright

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check format bench clean

help: ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 18

setup: $(READY) ## make the virtual environment (.venv) with everything in it

$(READY): pyproject.toml constraints.txt scripts/setup.sh
	@bash scripts/setup.sh "$(VENV)"
	@touch $@

demo: $(READY) ## train, evaluate and explain a model on built-in data
	$(BIN)/danlu demo

test: $(READY) ## the fast tests, less than 10 minutes on 2 cores
	$(PYTEST) -n $(JOBS)

test-all: $(READY) ## every test, the slow ones included
	$(PYTEST) -n $(JOBS) -m "" --timeout 1800

check: $(READY) ## style, types, layers, and no code that runs what a file says
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python --warnings
	$(BIN)/lint-imports --no-cache
	$(PYTEST) -q tests/test_forbidden.py

format: $(READY) ## put the code into the house's form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(READY) ## side by side with peers and with the baselines of the real data sets
	$(BIN)/python benchmarks/tables.py

clean: ## remove caches and builds; the environment and your runs stay
	rm -rf build dist .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
