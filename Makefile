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

.PHONY: run federation test faults attacks fuzz coverage check format bench gas picture clean help anvil

help:
	@echo "make run    train the quickstart on the embedded chain, then verify it"
	@echo "make federation  a coordinator and four hospitals on this machine, live"
	@echo "make test   formatter, linter, types and all tests"
	@echo "make faults kill and mislead a federation of real processes, at full length"
	@echo "make attacks  play the attacks on the protocol that are known to succeed"
	@echo "make fuzz   the random tests at full length (an hour)"
	@echo "make coverage  what the tests reach of the contracts"
	@echo "make bench  measure, and write benchmarks/RESULTS.md"
	@echo "make picture  draw docs/img/architecture.svg from the import statements"

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no python3.11 found; install it or set PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,parquet]"
	@touch $@

run: $(STAMP)
	$(BIN)/fedproof simulate quickstart --out $(OUT) --fresh
	$(BIN)/fedproof verify $(OUT)

# Hospitals learn from DATA's heart-disease/ where there is one, else from bundled data.
DATA ?= $(or $(FEDPROOF_DATA),$(if $(wildcard ../shared/data/heart-disease),../shared/data))
ROUNDS ?= 10
federation: $(STAMP)
	$(BIN)/fedproof hospitals --out runs/hospitals --fresh --rounds $(ROUNDS) \
	  $(if $(DATA),--data $(DATA))

# anvil comes from npm; where npm is absent its tests are skipped and say so.
anvil:
	@if [ -x node_modules/.bin/anvil ]; then :; \
	elif command -v npm >/dev/null 2>&1; then npm ci --silent --no-audit --no-fund; \
	else echo "make: npm not found, the tests on anvil will be skipped"; fi

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Federations of real processes mostly wait (for Flower's polling, for heartbeats), so they run
# beside the suites that compute; what they print comes at the end. A file's tests share one.
PYTEST := $(BIN)/python -m pytest --dist worksteal --durations 12 --durations-min 5
WAITING := tests/e2e/federation
ATTACKS := tests/attacks
# By file, in the order that its conftest.py gives: the longest first.
IN_ORDER := --dist loadfile --no-loadscope-reorder

test: check anvil
	@mkdir -p build; \
	$(PYTEST) -n $(JOBS) $(IN_ORDER) $(WAITING) $(PYTEST_FLAGS) >build/federation.log 2>&1 & beside=$$!; \
	$(PYTEST) -n $(JOBS) --ignore $(WAITING) --ignore $(ATTACKS) $(PYTEST_FLAGS); computing=$$?; \
	wait $$beside; waiting=$$?; cat build/federation.log; \
	test $$computing -eq 0 && test $$waiting -eq 0

# Faults at full length: 20 kills in 30 rounds, and every shipped attack. docs/faults.md has what
# came of it.
faults: $(STAMP) anvil
	FEDPROOF_FAULTS=full $(BIN)/python -m pytest --timeout 0 -rP $(WAITING) \
		tests/e2e/disputes/test_shipped_attacks.py tests/e2e/run/test_kill_and_resume.py \
		$(PYTEST_FLAGS)

# Each is a test that the attacker fails, expected to fail until what it shows is mended.
attacks: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) -rxX $(ATTACKS) $(PYTEST_FLAGS)

# 375 random histories of 500 calls for each machine, 10,000 examples of each property, 100,000
# attempts on honest rounds and 100,000 altered rounds: docs/disputes.md has what came of it.
fuzz: $(STAMP) anvil
	FEDPROOF_FUZZ=1 $(BIN)/python -m pytest -n $(JOBS) --timeout 0 -rP \
		$(FUZZED) $(PYTEST_FLAGS)

FUZZED := tests/property tests/contracts/test_federation_machine.py \
	tests/contracts/referee/test_referee_machine.py tests/contracts/test_contract_words.py \
	tests/contracts/test_federation_rewards.py tests/contracts/test_federation_evidence.py \
	tests/node/test_chain_admission.py tests/unit/protocol/scores tests/unit/protocol/disputes \
	tests/unit/protocol/test_wire.py

# Which lines and branches of the contracts their tests reach, on py-evm; half an hour.
coverage: $(STAMP)
	rm -rf build/traces
	FEDPROOF_COVERAGE=build/traces $(BIN)/python -m pytest -n $(JOBS) --timeout 0 \
		tests/contracts -k "not random_" $(PYTEST_FLAGS)
	$(BIN)/python -m benchmarks.coverage build/traces --write docs/coverage.md

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python -m benchmarks

gas: $(STAMP)
	$(BIN)/python -m benchmarks.gas

# docs/img/architecture.svg, from the import statements and docs/architecture.md.
picture: $(STAMP)
	$(BIN)/python -m benchmarks.architecture

clean:
	rm -rf $(VENV) build *.egg-info runs
