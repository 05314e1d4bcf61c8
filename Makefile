# Two commands do everything on a fresh machine: `make run` and `make test`.
PYTHON ?= $(shell command -v python3 || echo python3)
BIN := .venv/bin
SETUP := PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m rbee_tui.fleet.bootstrap
PYTEST := $(BIN)/python -m pytest
# Tests wait for daemons most of the time: two processes at once, each with whole rooms of its own.
TOGETHER := -n 2 --dist loadgroup --no-loadscope-reorder

.PHONY: run test check bench faults soak model setup setup-test clean

run: setup
	@exec $(BIN)/rbee demo

test: setup-test model
	$(PYTEST) $(TOGETHER)

check: setup-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup-test model
	$(BIN)/python -m tests.bench $(ONLY)

faults: setup-test model
	RBEE_LONG=1 $(PYTEST) tests/faults --timeout=7200

soak: setup-test model
	RBEE_LONG=1 $(PYTEST) -m slow --timeout=7200

setup:
	@$(SETUP) --extras llama

setup-test:
	@$(SETUP) --extras llama,test

model:
	@$(BIN)/rbee-hive models download smollm2-135m

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
