# Everything a person or a pipeline does here. A machine needs Python 3.11 or newer, make and the package registries;
# the rest is installed below .venv and below $COMPUTEGRID_CACHE (default ~/.cache/computegrid).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# The first Python on the PATH that is new enough; PYTHON=... chooses another one.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
GENERATED := crds charts/computegrid manifests docs/api.md docs/metrics.md
# Processes that run tests; each has control planes of its own, some 2 GiB. 0: this one alone.
WORKERS ?= 2
# Options for what a target runs, for example: make test ARGS="-k gang -x"
ARGS ?=

.PHONY: help
help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(STAMP) ## Make .venv with everything that Python needs, at pinned versions.

$(STAMP): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed; name one with PYTHON=..." >&2; exit 1; }
	@echo "installing into $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: tools
tools: $(STAMP) # Build the control plane's programs, and those that check releases, once; minutes the first time.
	@$(BIN)/python -m controlplane tools >/dev/null
	@$(BIN)/python -m controlplane tools --release >/dev/null

.PHONY: generate
generate: $(STAMP) ## Write the CRDs, the chart, the plain manifests and the references anew.
	@$(BIN)/python -m computegrid.api.crd crds/
	@$(BIN)/python -m charts.generate
	@$(BIN)/python -m computegrid.api.reference docs/api.md
	@$(BIN)/python -m computegrid.metrics docs/metrics.md

.PHONY: verify
verify: tools ## Check the structure: generated files, format, lint, types, layers, chart, alerts.
	@command -v promtool >/dev/null || { echo "make: promtool is missing (Debian: apt-get install prometheus)" >&2; exit 1; }
	@sums() { find $(GENERATED) -type f -not -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum; }; \
		before=$$(sums); $(MAKE) generate; \
		diff <(echo "$$before") <(sums) || { echo "make: generated files were out of date and are new now" >&2; exit 1; }
	$(BIN)/python -m pip check --disable-pip-version-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict -p computegrid -p controlplane -p charts -p demo -p benchmarks
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/chart

.PHONY: test
test: tools ## Run every test: the quick ones first, then those on real control planes.
	$(BIN)/python -m pytest tests --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: test-fast
test-fast: $(STAMP) ## Run the tests that need no control plane.
	$(BIN)/python -m pytest tests -m "not e2e" --ignore tests/chart --numprocesses $(WORKERS) $(ARGS)

.PHONY: demo
demo: $(STAMP) ## Show the grid at work in the terminal, until Ctrl-C; EXIT=1 ends by itself.
	@$(BIN)/python -m demo $(if $(filter-out 0,$(EXIT)),--exit) $(ARGS)

.PHONY: chaos
chaos: tools ## Break everything on purpose and count: kills, faults, partitions, leaders, nodes; hours in full.
	$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: bench
bench: tools ## Measure gangs of pods a second beside a blind replay of the same writes.
	$(BIN)/python -m benchmarks.gangs $(ARGS)

.PHONY: clean
clean: ## Remove what was made in this folder; the programs in the cache stay.
	@! test -x $(BIN)/python || $(BIN)/python -m controlplane down --delete-data
	rm -rf $(VENV) .plane .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
