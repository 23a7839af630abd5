# Needs Python 3.11 or newer, its pip, and make; everything else is installed below $(VENV).

PYTHON ?= python3
VENV   ?= .venv
# Processes that share the tests; 0 runs them in this one, where a debugger can stop.
WORKERS ?= 2
# More for pytest: make test ARGS="tests/graph -k cache"
ARGS   ?=

BIN := $(VENV)/bin
PACKAGES := brainstate_graph brainstate_transform brainstate_nn

.PHONY: help demo test docs package lint format types contracts bench clean
.DEFAULT_GOAL := help
# A failed installation must not look like a finished one.
.DELETE_ON_ERROR:
.SECONDARY:

help:  ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 14

demo: $(VENV)/.installed-demo  ## Train a small network on handwritten digits
	$(BIN)/python examples/digits.py

test: $(VENV)/.installed-test  ## Run the tests (all but the slow ones), the doctests and the docs
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

docs: $(VENV)/.installed-docs  ## Build the site of the documentation below build/site, and check its links
	$(BIN)/python -m sphinx -W --keep-going -q -d build/doctrees docs build/site
	$(BIN)/python -m tools.check_site build/site

package: $(VENV)/.installed-package  ## Build a wheel and an sdist, and try them in an environment of their own
	$(BIN)/python -m tools.package

lint: $(VENV)/.installed-dev  ## Check the style of the sources
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev  ## Bring the sources into that style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev  ## Check the types
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/pyright --pythonpath $(BIN)/python --project tools/pyright-nn.json

contracts: $(VENV)/.installed-dev  ## Check which file imports which
	$(BIN)/lint-imports

bench: $(VENV)/.installed-bench  ## Measure all claims beside other systems; ARGS=--quick for three minutes
	$(BIN)/python -m benchmarks $(ARGS)

clean:  ## Remove the environments and all caches
	rm -rf .venv* build dist *.egg-info .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	find $(wildcard $(PACKAGES) tests benchmarks examples) -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each set of extras: installed again only where pyproject.toml is newer. The packages themselves are
# installed in place, so that a change of a source file needs nothing.
$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: make PYTHON=python3.11 ...' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
