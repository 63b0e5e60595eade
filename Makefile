# Everything a newcomer types. `make setup` is part of each target: nothing has to be prepared.
PYTHON ?= python3
RUN ?= runs/demo
DIR ?= tests
BIN := .venv/bin

.PHONY: setup demo test test-fast durations lint clean

setup:
	@PYTHON=$(PYTHON) tools/setup.sh

demo: setup
	@$(BIN)/lidardistill demo --out $(RUN)

# The whole suite.
test: setup
	@$(BIN)/python -m pytest -n 2

# Without the tests that are marked slow: for while you work.
test-fast: setup
	@$(BIN)/python -m pytest -n 2 -m "not slow"

# The slowest tests of a folder, to decide what to mark: make durations DIR=tests/data
durations: setup
	@$(BIN)/python -m pytest -n 0 --durations=25 --durations-min=0.5 -m "not slow" $(DIR)

lint: setup
	@$(BIN)/ruff check lidardistill tests tools setup.py
	@$(BIN)/ruff format --check lidardistill tests tools setup.py
	@$(BIN)/mypy
	@$(BIN)/codespell

clean:
	rm -rf .venv build dist *.egg-info
