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

test: $(STAMP) system-packages lint
	@$(BIN)/pytest -q -n $(WORKERS) --dist worksteal

bench: $(STAMP)
	@for program in benchmarks/*.py; do $(BIN)/python "$$program"; done

SECONDS ?= 3600
fuzz: $(STAMP)
	@$(BIN)/pip install --quiet --editable '.[fuzz]'
	nice -n 19 $(BIN)/python -m tests.fuzz.fuzz_receive -max_total_time=$(SECONDS) -print_final_stats=1

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist ./*.egg-info dicom_node/scp/*.so
