# Needs python3 >= 3.11 with venv, and make; set-up sees to the rest.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup run test check bench smoke lock

help:             ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*##/\1\t/'

setup:            ## .venv with the locked versions, and SUMO's system libraries
	@$(PYTHON) tools/setup.py

run: setup        ## the main job: the Heishizi morning, without and with a response
	$(BIN)/traffic compare heishizi --responses none,full --seeds 1 --jobs 2 --out out/heishizi

test: setup       ## all default tests
	$(BIN)/python -m pytest -n auto

check: setup      ## lint, format, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

bench: setup      ## time every benchmark against its limit
	$(BIN)/python -m bench

smoke: setup      ## run every benchmark once, untimed, and check its answers
	$(BIN)/python -m bench --smoke

lock: setup       ## pin the newest versions that fit pyproject.toml; test before you commit them
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--no-header --no-annotate --upgrade --output-file requirements.lock
