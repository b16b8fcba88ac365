# dicom-node. Two commands matter: `make demo` and `make test`. `make` alone creates .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := install
.PHONY: install demo test check lint system-packages bench fuzz clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
WORKERS ?= 3 # most tests wait for a peer, so more than there are cores
STAMP := .venv/.installed
VIEWERS := tests/viewers/node_modules/.package-lock.json

install: $(STAMP)

$(STAMP): pyproject.toml setup.py dicom_node/scp/_pump.c dicom_node/scp/_pump_wire.h scripts/create_venv.sh
	@PYTHON="$(PYTHON)" bash scripts/create_venv.sh
	touch $@

demo: $(STAMP)
	@$(BIN)/dicom-node demo

lint: $(STAMP)
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint
	@$(BIN)/pytest -q tests/unit tests/contract tests/property

system-packages:
	@bash scripts/install_system_packages.sh

$(VIEWERS): tests/viewers/package-lock.json | system-packages
	@cd tests/viewers && npm ci --silent && touch node_modules/.package-lock.json

test: $(STAMP) system-packages $(VIEWERS) lint
	@$(BIN)/pytest -q -n $(WORKERS) --dist worksteal

bench: $(STAMP)
	@for program in benchmarks/*.py; do $(BIN)/python "$$program"; done

SECONDS ?= 3600
fuzz: $(STAMP)
	@$(BIN)/pip install --quiet --editable '.[fuzz]'
	nice -n 19 $(BIN)/python -m tests.fuzz.fuzz_receive -max_total_time=$(SECONDS) -print_final_stats=1

clean:
	rm -rf .venv tests/viewers/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist ./*.egg-info dicom_node/scp/*.so
