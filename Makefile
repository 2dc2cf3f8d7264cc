# Backlot's commands. `make` alone lists them; each prepares .venv itself when something it needs has changed.
# Options: PYTHON=python3.12 (which Python makes .venv), JOBS=4 (test processes), ARGS="-k mix" (more for pytest).

PYTHON ?= python3
JOBS ?= 2
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Several processes share the cores, so each computes on one thread; nothing reports usage to anyone; our settings of
# Prefect are not mixed with a server that the caller's shell happens to point at.
export OMP_NUM_THREADS ?= 1
export OPENCV_FOR_THREADS_NUM ?= 1
export DO_NOT_TRACK = 1
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export HF_HUB_DISABLE_TELEMETRY = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1
unexport PREFECT_API_URL PREFECT_PROFILE VIRTUAL_ENV PYTHONPATH

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow check bench bench-gpu references lock clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP)  ## make .venv with the locked packages and Backlot itself (first run: a few minutes)

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  found=$$($(PYTHON) --version 2>/dev/null) || found=missing; \
	  echo "Backlot needs Python 3.11 or newer, and $(PYTHON) is $$found." \
	       "Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup  ## three sample products through omni-bg with tiny weights; leaves demo/
	$(BIN)/python examples/demo.py

# By file, so that what a module builds once (tiny weights, a server) stays in one process. Not by group: pytest-xdist
# 3.8.0 loses its groups under pytest 9.2 without a word (pytest-xdist issue 1386).
test: check  ## every check and every test, as CI runs them
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

test-slow: setup  ## the long fault runs: outages, random kills, real passes killed; by hand, minutes
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m slow $(ARGS)

# lint-imports' cache looks at the importing file only: `from storage.x import y` stays an import of storage until that
# file changes, though x may be new.
check: setup  ## ruff, mypy --strict and the import contracts; changes nothing
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: setup  ## measure, and write dated results to benchmarks/results/
	for script in benchmarks/*.py; do PYTHONPATH=tests/helpers $(BIN)/python $$script || exit 1; done

bench-gpu: setup  ## the whole job and its parts against stock diffusers; tiny where there is no GPU
	$(BIN)/python -m benchmarks.gpu

references: setup  ## write the reference pictures that a raised pass version makes missing (look at them!)
	$(BIN)/python tests/models/test_reference_pictures.py

lock:  ## compile requirements.txt anew from pyproject.toml (UPGRADE=NAME moves one package, UPGRADE=all every one)
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet pip-tools==7.6.2
	UPGRADE=$(UPGRADE) build/lock/bin/python scripts/lock.py

clean:  ## remove .venv, caches and build outputs; results and pictures stay
	rm -rf $(VENV) build backlot.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
