# Driftlock. `make run` starts the server from a bare checkout; `make test` is the gate; the rest is in `make help`.
# Work is skipped when nothing changed: stamps live in .venv/.stamps.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
NATIVE := setup.py $(wildcard cbad_cy/*.pyx cbad_cy/*.px[di] collector/otlp/*.pyx collector/otlp/*.px[di] proto/driftlock/v1/*.proto)
SDK_PROGRAMS := tests/e2e/sdk
TESTS ?= tests
PYTEST_ARGS ?= -n 3 --dist worksteal
FUZZ_SECONDS ?= 60
SEEDS ?= 10000
FIRST ?= 0
MINUTES ?= 30
COLLECTOR_VERSION := v0.165.0
COLLECTOR := build/peers/otelcol/otelcol-peer
FIREBASE := build/peers/firebase/node_modules/firebase-tools/lib/bin/firebase.js

CLIENT := client/src/driftlock_client

.PHONY: help run build client test lint format sanitize fuzz fuzz-rest bench-replay bench-alarms bench-core bench-quality bench-nab bench-metrics bench-traces bench-ingest bench-rest bench-kafka peers chaos soak simulate clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## Build what changed, then serve OTLP on 4317 and 4318 and REST on 8080
	@exec $(BIN)/driftlock serve

build: $(STAMPS)/native $(STAMPS)/client ## Virtual environment, dependencies and native modules

$(STAMPS)/system: .ci/system-packages
	@bash .ci/system-packages "$(PYTHON)"
	@test -x $(BIN)/python || { rm -rf $(VENV); "$(PYTHON)" -m venv $(VENV); }
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/pip: $(STAMPS)/system
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(STAMPS)/dependencies: pyproject.toml $(STAMPS)/pip
	@echo "Installing pinned dependencies into $(VENV) (only when pyproject.toml changed)"
	@$(BIN)/python -m pip install --quiet --group build
	@CBAD_NATIVE=later PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --no-build-isolation --editable .
	@touch $@

$(STAMPS)/native: $(NATIVE) $(STAMPS)/dependencies
	@echo "Building native modules"
	@$(BIN)/python setup.py --quiet build_ext --inplace --parallel "$$(nproc)"
	@touch $@

# The document is made of the endpoints: whatever they are made of makes the client again. It writes what has changed.
$(STAMPS)/client: $(STAMPS)/native $(shell find api client/generator driftlock -name '*.py' -not -name '*_pb2.py')
	@echo "Making the Python client from the OpenAPI document"
	@$(BIN)/python -m client.generator
	@touch $@

client: build ## The Python client as a wheel in dist/
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist ./client

$(STAMPS)/test: pyproject.toml $(STAMPS)/dependencies .ci/test-packages
	@$(BIN)/python -m pip install --quiet --group test
	@bash .ci/test-packages $(BIN)/python
	@touch $@

# Node and npm are of the test group, from PyPI. Scripts of packages are never run.
$(STAMPS)/node: $(SDK_PROGRAMS)/package-lock.json | $(STAMPS)/test
	@echo "Installing the locked Node packages of $(SDK_PROGRAMS)"
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix $(SDK_PROGRAMS) ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error >/dev/null
	@touch $@

test: build $(STAMPS)/test $(STAMPS)/node lint ## Lint, types, stubs and all tests
	@$(BIN)/python -m pytest $(PYTEST_ARGS) $(TESTS)

lint: build $(STAMPS)/test ## Style, types and stubs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m mypy.stubtest $(subst /,.,$(basename $(wildcard cbad_cy/*.pyx collector/otlp/*.pyx)))

format: $(STAMPS)/test ## Rewrite the style that a machine can rewrite
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

sanitize: build $(STAMPS)/test ## Kernel tests on kernels built with AddressSanitizer and UndefinedBehaviorSanitizer
	@$(BIN)/python -m tests.cbad_cy.sanitize

$(STAMPS)/fuzz: pyproject.toml $(STAMPS)/test
	@$(BIN)/python -m pip install --quiet --group fuzz
	@touch $@

fuzz: build $(STAMPS)/fuzz ## Mutated OTLP requests through the decoder and its oracle, FUZZ_SECONDS long (SANITIZE=1: on sanitized kernels)
	@$(BIN)/python -m $(if $(SANITIZE),tests.cbad_cy.sanitize fuzz --unguided,tests.fuzz) --seconds $(FUZZ_SECONDS)

CASES ?= 5000

fuzz-rest: build $(STAMPS)/test ## CASES=5000 good and bad requests made of the OpenAPI document, to a server with two full accounts
	@$(BIN)/python -m tests.fuzz.rest --cases $(CASES)

$(STAMPS)/bench: pyproject.toml $(STAMPS)/dependencies
	@$(BIN)/python -m pip install --quiet --group bench
	@touch $@

bench-replay: build $(STAMPS)/bench ## Public logs through port 4317, undisturbed and with a kill -9 midway: lines/s, equal findings
	@$(BIN)/python -m bench.replay

bench-alarms: build $(STAMPS)/bench ## Share of windows that alarm on normal streams
	@$(BIN)/python -m bench.alarms

bench-core: build $(STAMPS)/bench ## Events/s of the detection core by codec and stage, beside Drain3; state; permutation test; statistical coder
	@$(BIN)/python -m bench.core
	@$(BIN)/python -m bench.permutation
	@$(BIN)/python -m bench.codelength

bench-quality: build $(STAMPS)/bench ## Detection quality on public data beside reference detectors (QUICK=1: a subset in two minutes)
	@$(BIN)/python -m bench.quality $(if $(QUICK),--quick)

bench-nab: build $(STAMPS)/bench ## Numenta Anomaly Benchmark by its own rules; first the proof that its published scores are reproduced (QUICK=1)
	@$(BIN)/python -m bench.metrics --nab $(if $(QUICK),--quick)

bench-metrics: build $(STAMPS)/bench ## Metric series: labelled points, real rate of p, power and delay, cost, beside reference detectors (QUICK=1: a minute)
	@$(BIN)/python -m bench.metrics $(if $(QUICK),--quick)

bench-traces: build $(STAMPS)/bench ## Faults in traces: Nezha with spans, logs and metrics, injected faults, cost, beside simple references (QUICK=1: two minutes)
	@$(BIN)/python -m bench.traces $(if $(QUICK),--quick)

bench-ingest: build $(STAMPS)/bench $(STAMPS)/test ## Cost of receiving OTLP by stage, overload, many streams, beside other collectors (QUICK=1: two minutes)
	@$(BIN)/python -m bench.ingest $(if $(QUICK),--quick)

bench-rest: build $(STAMPS)/bench $(STAMPS)/test ## REST: detect, lists and details with a million findings, cost of the guards (QUICK=1: two minutes)
	@$(BIN)/python -m bench.rest $(if $(QUICK),--quick)

bench-kafka: build $(STAMPS)/bench $(STAMPS)/test ## The way over Kafka: client, stages of a worker, workers end to end, gateway, take-over, states (QUICK=1: two minutes)
	@$(BIN)/python -m bench.kafka $(if $(QUICK),--quick)

# The official Collector, built by its own builder. Nothing else needs it, or Go.
$(COLLECTOR): tests/peers/manifest.yaml
	@command -v go >/dev/null || { echo "go is not installed: the official Collector is built from Go modules" >&2; exit 1; }
	@echo "Building the OpenTelemetry Collector $(COLLECTOR_VERSION) (minutes, once)"
	@GOBIN="$(CURDIR)/build/peers/bin" go install go.opentelemetry.io/collector/cmd/builder@$(COLLECTOR_VERSION)
	@build/peers/bin/builder --config $<
	@touch $@

# The Firebase Auth emulator, 260 MB from npm. Scripts of packages are never run.
$(FIREBASE): tests/peers/firebase/package-lock.json | $(STAMPS)/test
	@echo "Installing the Firebase Auth emulator (a minute, once)"
	@mkdir -p build/peers/firebase && cp tests/peers/firebase/package.json $< build/peers/firebase/
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix build/peers/firebase ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error >/dev/null
	@touch $@

peers: build $(STAMPS)/test $(COLLECTOR) $(FIREBASE) ## Tests with the official Collector in front of us, built for it (needs Go), and with the Firebase Auth emulator
	@$(BIN)/python -m pytest -m peer tests/peers

chaos: build $(STAMPS)/test ## Real processes under kill -9, SIGSTOP, lost answers, a broken database: LOST=0 DUP=0 GAPS=0 (hours; QUICK=1: minutes)
	@$(BIN)/python -m pytest -m chaos tests/chaos
	@$(BIN)/python -m tests.chaos $(if $(QUICK),--quick) $(CHAOS_ARGS)

soak: build $(STAMPS)/test ## MINUTES=30 at half of the capacity with a fault every 20 seconds: memory, files, connections and tables stay flat
	@$(BIN)/python -m tests.chaos.scenarios --minutes $(MINUTES)

simulate: build $(STAMPS)/test ## SEEDS=10000 simulated histories from FIRST=0 on, with every fault there is, and their rate
	@$(BIN)/python -m tests.simulation --first $(FIRST) --seeds $(SEEDS)

clean: ## Remove everything that was built; the data folder stays
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage coverage.xml $(STAMPS)
	@rm -rf $(SDK_PROGRAMS)/node_modules
	@rm -rf client/build client/src/*.egg-info
	@rm -f $(addprefix $(CLIENT)/,models.py operations.py version.py)
	@rm -f cbad_cy/*.c cbad_cy/*.so collector/otlp/*.c collector/otlp/*.so driftlock/v1/*_pb2.py driftlock/v1/*_pb2.pyi
	@find api bench cbad_cy client collector driftlock server tests -name __pycache__ -type d -prune -exec rm -rf {} +
