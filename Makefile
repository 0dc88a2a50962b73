# make setup | up | down | test | lint | bench        (see README.md)
PYTHON ?= python3
BIN    := .venv/bin

.PHONY: setup up down test lint bench constraints clean

setup:
	@$(PYTHON) tools/setup.py

up: setup
	@$(BIN)/yurt up $(ARGS)

down: setup
	@$(BIN)/yurt down $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest $(ARGS)

bench: setup
	$(BIN)/python -m bench $(ARGS)

# New versions: needs uv. uv.lock names hosts and stays out of the repository.
constraints:
	uv lock --upgrade
	uv export -q --no-emit-workspace --no-header --no-annotate --group dev --group build -o constraints.txt
	uv export -q --no-emit-workspace --no-header --no-annotate --only-group go -o constraints-go.txt

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
