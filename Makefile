# Everything here is a plain command that the README also gives. GNU make, Python 3.11 or later, pip.
#
#   make demo     install into .venv, then a running engine with 250 messages through four channels
#   make test     install, then every test that needs no database, browser or DICOM toolkit
#   make check    what CI runs before a merge: lint, types, contracts, docs, shipped channels, tests

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# On two cores: many tests wait for something, and every third worker has those that do not.
JOBS   ?= 7
# Where nearly all wait, or none does.
LONG   ?= 5
# By tests/schedule.py: file by file, from both ends of the list.
SHARED := --dist loadscope --no-loadscope-reorder
# Every worker and every engine of the tests imports all there is.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-once run test lint format types contracts reference docs channels bench faults soak night simulate \
        fuzz fuzz-short audit check clean

help:
	@sed -n 's/^#   //p' Makefile

# --- environments: a stamp file a set of extras, remade when pyproject.toml or the interpreter changes --------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Segmill needs Python 3.11 or later; $$($(PYTHON) --version 2>&1) is what '$(PYTHON)' is. Try: make PYTHON=python3.11" >&2; exit 1; }
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
	   $(PYTHON) -m venv $(VENV); \
	 elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
	   echo "python3-venv is not installed; making $(VENV) with the pip that is there."; \
	   $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install -q pip; \
	 else \
	   echo "Neither python3-venv nor pip is installed. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; \
	 fi

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed

$(VENV)/.installed-fuzz: $(VENV)/.installed-test
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[fuzz]' \
	  || echo "atheris cannot be installed here; fuzzing will be skipped" >&2
	@touch $@

# All of it at one time, as CI wants it.
$(VENV)/.installed-all: pyproject.toml | $(BIN)/python
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev,fuzz]' \
	  || { echo "atheris cannot be installed here; fuzzing will be skipped" >&2; \
	       $(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'; }
	@touch $(VENV)/.installed $(VENV)/.installed-test $(VENV)/.installed-dev $(VENV)/.installed-fuzz $@

# --- to see it -------------------------------------------------------------------------------------------------------

demo: $(VENV)/.installed
	$(BIN)/segmill demo

demo-once: $(VENV)/.installed
	$(BIN)/segmill demo --once

# --- to trust it -----------------------------------------------------------------------------------------------------

test: $(VENV)/.installed-test
	$(PYTEST) -q -n $(JOBS) $(SHARED)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev
	$(BIN)/mypy --strict -p engine

contracts: $(VENV)/.installed-dev
	$(BIN)/lint-imports

reference: $(VENV)/.installed
	$(BIN)/python -m engine.docs.reference

docs: $(VENV)/.installed-test
	$(PYTEST) -q tests/docs

channels: $(VENV)/.installed
	$(BIN)/segmill check .
	$(BIN)/segmill test .

bench: $(VENV)/.installed-test
	@missed=; for bench in tests/bench/bench_*.py; do echo "== $$bench"; $(BIN)/python $$bench || missed="$$missed $$bench"; done; \
	if [ -n "$$missed" ]; then echo "failed, or missed an aim:$$missed"; exit 1; fi

faults: $(VENV)/.installed-test
	$(PYTEST) -q -s -m fault -p no:xdist --timeout 3600 tests/faults

soak: $(VENV)/.installed-test
	$(PYTEST) -q -n $(LONG) $(SHARED) -m 'soak or fault' --timeout 7200 tests --ignore tests/simulation

# The goals that do not fit into three quarters of an hour: tests/faults/sizes.py.
night: export SEGMILL_FULL := 1
night: soak simulate

# Whole engines on a loop without a clock, their histories drawn from numbers: engine/docs/adr/0017-simulation.md.
simulate: $(VENV)/.installed-test
	$(BIN)/python -m tests.simulation --histories 100000 --processes $(LONG)
	$(BIN)/python -m tests.simulation --histories 2000 --processes $(LONG) --sqlite
	$(BIN)/python -m tests.simulation.worklists --count 20000
	$(BIN)/python -m tests.simulation.worklists --count 500 --sqlite

# Ten minutes, or one. Where atheris cannot be had (it is built for Linux and macOS), it says so and is no failure.
fuzz: $(VENV)/.installed-fuzz
	$(BIN)/python -m tests.fuzz.fuzz --seconds 600

fuzz-short: $(VENV)/.installed-fuzz
	$(BIN)/python -m tests.fuzz.fuzz --short --seed 1 $(if $(FUZZ_PROCESSES),--processes $(FUZZ_PROCESSES))

# What the advisories know of the packages of this environment. Needs a network that reaches them.
audit: $(VENV)/.installed-dev
	$(BIN)/python -m pip install -q --disable-pip-version-check 'pip-audit>=2.7'
	$(BIN)/pip-audit --skip-editable

check: lint types contracts channels test

clean:
	rm -rf $(VENV) demo dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .fuzz
	find engine tests -name __pycache__ -type d -prune -exec rm -rf {} +
