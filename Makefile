# Every job of this project.  `make` alone lists them.  All set-up happens by itself, in .venv.
# On a fresh machine: git, make, python3 >= 3.11 (with venv) and a package index.

PYTHON ?= python3
JOBS   ?= 2
VENV   := .venv
BIN    := $(VENV)/bin
PY     := $(BIN)/python
PYTEST := $(PY) -m pytest
READY  := $(VENV)/.ready
TESTABLE := $(VENV)/.testable

export PIP_DISABLE_PIP_VERSION_CHECK = 1
# The jobs of one checkout never write into the cache or the store of the person who runs them.
unexport JVS_STORE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test torture short-torture lint types layers wheel docs bench bench-smoke fuzz \
        conformance verify release-gate clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1 \t/p' $(MAKEFILE_LIST) | expand -t 24

setup: $(READY) ## .venv with jvs (editable) and all that the other jobs need

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("jvs needs Python 3.11 or later, this is " + sys.version.split()[0] + "; next: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || \
	  { echo "next: install Python's venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "setting up $(VENV) ..."
	@$(PY) -m pip install -qq -c constraints.txt hatchling editables
	@$(PY) -m pip install -qq -c constraints.txt --no-build-isolation --editable '.[dev,sqlite]'
	@touch $@

# Libraries that only tests of integrations need: large, so the demo and the linters do without.
$(TESTABLE): $(READY)
	@echo "installing what the tests of integrations need ..."
	@$(PY) -m pip install -qq -c constraints.txt --no-build-isolation --editable '.[dev,sqlite,integrations]'
	@touch $@

demo: $(READY) ## push, edit, push, log, diff, reset and pull a copy of the standard library, and prove it
	@$(PY) devtools/demo.py

test: $(TESTABLE) ## the whole test suite (torture tests in their short form)
	$(PYTEST) -n $(JOBS) --dist loadgroup

torture: $(TESTABLE) ## the whole test suite, torture tests in their long form (hours)
	JVS_TORTURE=1 $(PYTEST) -n $(JOBS) --dist loadgroup --timeout 14400

short-torture: $(TESTABLE) ## the tests that race processes against one store, JVS_SECONDS=60 each
	JVS_SECONDS=$${JVS_SECONDS:-60} $(PYTEST) -m race60 --timeout 1200

conformance: $(TESTABLE) ## every backend and label store against the shipped conformance kit
	$(PYTEST) -n $(JOBS) --dist loadgroup -m conformance

lint: $(READY) ## ruff
	$(BIN)/ruff check .

types: $(READY) ## mypy --strict
	$(BIN)/mypy

layers: $(READY) ## import-linter: imports go one way
	$(BIN)/lint-imports --no-cache --no-logo

wheel: $(READY) ## build sdist and wheel into dist/, and check what is in them
	@rm -rf dist
	$(PY) -m build --no-isolation --outdir dist .
	$(PY) devtools/check_wheel.py dist/*.whl

docs: $(READY) ## run every code block of README and docs/, follow every link
	$(PYTEST) tests/house/test_docs.py

bench: $(READY) ## benchmarks beside git, restic and borg; writes benchmarks/RESULTS.md and a plot
	@$(PY) -m pip install -qq -c constraints.txt --no-build-isolation --editable '.[bench]'
	$(PY) benchmarks/run.py

bench-smoke: $(READY) ## the benchmarks on tiny input: only whether they run
	@$(PY) -m pip install -qq -c constraints.txt --no-build-isolation --editable '.[bench]'
	$(PY) benchmarks/run.py --smoke

fuzz: $(READY) ## hypothesis for long, then each atheris harness of tests/fuzz for JVS_SECONDS (60)
	@$(PY) -m pip install -qq -c constraints.txt --no-build-isolation --editable '.[fuzz]'
	$(PYTEST) -n $(JOBS) --dist loadgroup -m hypothesis --hypothesis-profile=long --timeout 3600
	$(PY) devtools/fuzz.py

verify: lint types layers test wheel ## lint, types, layers, test and wheel: what a change must pass

release-gate: verify short-torture bench-smoke docs ## what a release must pass

clean: ## remove what these jobs made
	rm -rf $(VENV) dist build .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
