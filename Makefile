# Everything a newcomer types. `make setup` is part of each: nothing has to be prepared.
PYTHON ?= python3
RUN ?= runs/demo
BIN := .venv/bin

.PHONY: setup demo test lint clean

setup:
	@PYTHON=$(PYTHON) tools/setup.sh

demo: setup
	@$(BIN)/lidardistill demo --out $(RUN)

test: setup
	@$(BIN)/python -m pytest -n 2

lint: setup
	@$(BIN)/ruff check lidardistill tests tools
	@$(BIN)/ruff format --check lidardistill tests tools
	@$(BIN)/mypy

clean:
	rm -rf .venv build dist *.egg-info
