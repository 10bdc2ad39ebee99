# What can be done here; `make` alone lists it.
.DEFAULT_GOAL := help
.PHONY: help install up serve check lint types unit test integration slow docker-ready simulate chaos bench bench-chain bench-bytecodes bench-memory bench-reconciler bench-peers bench-quality learn clean

# Without kept byte code each test process, and each instance that a test starts, compiles everything anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUNTIME ?= process
SEEDS ?= 200
MINUTES ?= 10

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## .venv with both commands

$(STAMP): pyproject.toml constraints.txt deploy/venv.sh
	@PYTHON=$(PYTHON) sh deploy/venv.sh $(VENV)
	@touch $@

up: install ## the cloud on this machine with a first tenant; RUNTIME=docker for containers
	@if [ "$(RUNTIME)" = docker ]; then sh deploy/build-image.sh --if-missing; fi
	@exec $(BIN)/stockyard-cloud up --demo --runtime $(RUNTIME)

serve: install ## one self-hosted instance on port 4200
	@exec $(BIN)/stockyard serve

check: lint types unit ## lint, types, import contracts and unit tests: run it all the time

lint: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

types: install
	@$(BIN)/mypy

unit: install
	@$(BIN)/pytest -n 2 -m "not slow and not docker and not integration"

test: install docker-ready check integration slow ## everything; sets up what it needs on a fresh Debian machine

integration: install
	@$(BIN)/pytest -n 2 -m "integration and not slow and not docker"

slow:
	@$(BIN)/pytest -m "slow or docker"

docker-ready:
	@sh deploy/test-machine.sh

simulate: install ## the control plane's simulation: make simulate SEEDS=1000
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS)

chaos: RUNTIME = docker
chaos: install ## faults of every kind under steady calls, on Docker, as root: make chaos MINUTES=10 SEED=1
	@if [ "$(RUNTIME)" = docker ]; then sh deploy/test-machine.sh; sh deploy/build-image.sh --if-missing; fi
	@$(BIN)/python -m tests.chaos --minutes $(MINUTES) --runtime $(RUNTIME) $(if $(SEED),--seed $(SEED))

bench: install ## the benchmarks; table here, JSON in bench/results.json
	@$(BIN)/python -m bench

bench-chain: install ## the modules' chain alone, with the defaults and with every module on; JSON in bench/results-chain.json
	@$(BIN)/python -m bench.chain

bench-bytecodes: install ## the same by count: byte codes of a call, by module, which other work on the machine does not change
	@$(BIN)/python -m bench.bytecodes

bench-memory: install ## memory over a million calls that have nothing in common; JSON in bench/results-memory.json
	@$(BIN)/python -m bench.memory --calls $(or $(CALLS),1000000)

bench-reconciler: install ## a pass over 10,000 tenants; JSON in bench/results-reconciler.json
	@$(BIN)/python -m bench.reconciler

bench-peers: install ## the same for other gateways that can be installed
	@$(BIN)/python -m bench.peers

bench-quality: install ## precision and recall of what detects and matches, on labelled sets
	@$(BIN)/python -m bench.quality

learn: install ## the weights of what safety modules learn from their examples (*_examples.tsv); after a change of those
	@$(BIN)/python -m bench.learn

clean: ## remove what was built here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info bench/.venvs bench/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
