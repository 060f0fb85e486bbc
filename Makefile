# Two commands on a fresh machine: `make run` and `make test`. Only Python 3.11, make and a C
# compiler are assumed. Everything else is pinned in constraints.txt and installed by pip.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= runs/quickstart
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PYTEST_FLAGS ?=

# Many small products in scoring: threads of a BLAS would wait for each other on busy cores.
export OPENBLAS_NUM_THREADS := 1
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION := 1

.PHONY: run test fuzz check format bench gas clean help anvil

help:
	@echo "make run    train the quickstart on the embedded chain, then verify it"
	@echo "make test   formatter, linter, types and all tests"
	@echo "make fuzz   the random tests at full length (hours)"
	@echo "make bench  measure, and write benchmarks/RESULTS.md"

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no python3.11 found; install it or set PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

run: $(STAMP)
	$(BIN)/fedproof simulate quickstart --out $(OUT) --fresh
	$(BIN)/fedproof verify $(OUT)

# anvil comes from npm; where npm is absent its tests are skipped and say so.
anvil:
	@if [ -x node_modules/.bin/anvil ]; then :; \
	elif command -v npm >/dev/null 2>&1; then npm ci --silent --no-audit --no-fund; \
	else echo "make: npm not found, the tests on anvil will be skipped"; fi

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check anvil
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_FLAGS)

# Hours: 375 random histories of 500 calls, 100,000 generated disputes.
fuzz: $(STAMP) anvil
	FEDPROOF_FUZZ=1 $(BIN)/python -m pytest -n $(JOBS) --timeout 0 tests/contracts tests/property

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python -m benchmarks

gas: $(STAMP)
	$(BIN)/python -m contracts.gas

clean:
	rm -rf $(VENV) build *.egg-info runs
