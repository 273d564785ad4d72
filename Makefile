# Needs nothing but make and a Python >= 3.10 with venv and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help

help: ## Show what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

# One stamp per set of extras; a changed pyproject.toml installs anew.
$(VENV)/.made-%: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@

demo: $(VENV)/.made-demo ## Run the main job on an embedded cluster
	$(BIN)/python examples/demo.py

test: $(VENV)/.made-test ## Set up and run all tests
	$(BIN)/python -m pytest

engines: ## Run all engines' examples, Ray and PyTorch too (gigabytes, in .venv-engines)
	test -x .venv-engines/bin/python || $(PYTHON) -m venv .venv-engines
	.venv-engines/bin/python -m pip install --quiet --editable '.[test,engines-heavy]'
	.venv-engines/bin/python -m pytest tests/examples -m "engines or not engines" -rP
	.venv-engines/bin/python -m pip list | grep -iE '^(pyarrow|fsspec|pandas|polars|duckdb|dask|ray|torch|pyiceberg|deltalake|datasets) '

lint: $(VENV)/.made-lint $(VENV)/.made-test ## Check style, types and import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check alluxio_arrow examples tests
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg

bench: $(VENV)/.made-bench ## Measure against other clients
	$(BIN)/python benchmarks/run.py $(BENCH)

clean: ## Remove what was built
	rm -rf $(VENV) .venv-engines build dist *.egg-info benchmarks/build

.PHONY: help demo test engines lint bench clean
.SECONDARY:
