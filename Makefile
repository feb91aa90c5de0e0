# Needs git, make and Python 3.11 or newer; everything else goes into $(VENV).
# To use another interpreter: make test PYTHON=python3.12

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/shakespeare
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --constraint constraints.txt
INPUTS := pyproject.toml constraints.txt hatch_build.py

.PHONY: help train test lint format wheel-check docs docs-check bench bench-gpu clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

train: $(VENV)/.installed ## train specs/shakespeare.tantra on the bundled plays, plot, sample
	if [ -e $(RUN)/run.json ]; \
	  then $(BIN)/tantra train --resume $(RUN); \
	  else $(BIN)/tantra train specs/shakespeare.tantra --out $(RUN); fi
	$(BIN)/tantra sample $(RUN) --prompt "ROMEO." --max-new 400 --seed 1

test: $(VENV)/.installed-test ## the whole test suite
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1 $(BIN)/python -m pytest -n 2 --dist worksteal tests

lint: $(VENV)/.installed-dev ## ruff, mypy --strict, the import contracts, the form of the shipped specs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	find specs -name '*.tantra' | xargs $(BIN)/tantra fmt --check

format: $(VENV)/.installed-dev ## put Python and specs into canonical form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	find specs -name '*.tantra' -print0 | xargs -0 $(BIN)/tantra fmt

wheel-check: $(VENV)/.installed-dev ## build wheel and sdist, install the wheel elsewhere, use it there
	$(BIN)/python tests/packaging/check_wheel.py

docs: $(VENV)/.installed-test ## write what pages take from the sources and from commands
	$(BIN)/python -m tests.docs.recipe_table
	$(BIN)/python -m tests.docs.library_page
	$(BIN)/python -m tests.docs.readme_spec
	$(BIN)/python -m tests.docs.rewrite_sessions README.md docs/tutorial.md docs/cli.md docs/diff.md

docs-check: $(VENV)/.installed-test ## run the examples in README.md and docs/
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1 $(BIN)/python -m pytest tests/docs

bench: $(VENV)/.installed-bench ## every benchmark; tables here, figures into bench/results/
	for script in bench/frontend.py bench/masks.py bench/*_cpu.py bench/fused.py; do $(BIN)/python "$$script"; done

bench-gpu: ## on a machine with a GPU and its torch: the kernels' numbers and speed, with whatever $(PYTHON) has
	for script in attention fused train_gpu; do PYTHONPATH=.:compiler $(PYTHON) bench/$$script.py; done

clean: ## remove what the other targets made, the runs excepted
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# --- the environment: each stamp says that what it needs is installed --------------------

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "tantra needs Python 3.11 or newer; name one with: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null \
	  || { echo "this Python cannot make environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(INPUTS) | $(VENV)/bin/python
	@echo "installing tantra into $(VENV) (some minutes the first time)"
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	$(PIP) --editable '.[$*]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(PIP) --editable '.[bench]'
	$(PIP) --no-deps litgpt
	@touch $@

.SECONDARY: $(VENV)/bin/python
