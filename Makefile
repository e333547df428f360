# Two commands for newcomers: `make demo` and `make test`. Both make .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STRICT := $(VENV)/ministack/bin/ministack
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint tests/constraints.txt

.PHONY: demo test unit integration chaos lint docs clusters-up clusters-down clean

demo: $(VENV)/.demo
	$(BIN)/aifa demo

test: unit integration

unit: $(VENV)/.test
	$(BIN)/python -m pytest tests

# Real Slurm, real sshd, real S3: installs what is missing (as root) or says what it is.
integration: $(VENV)/.test $(STRICT)
	$(BIN)/python -m integration.cluster needs --install
	$(BIN)/python -m pytest integration $(SECOND_TRY)

# Where nobody is there to look into a failure: the output has both.
ifdef CI
SECOND_TRY = || { echo "make: what failed, once more"; \
	$(BIN)/python -m pytest integration --last-failed --last-failed-no-failures none; }
endif

# Faults at hundreds of moments, in place of the samples that `make integration` has of them; prints its figures.
chaos: $(VENV)/.test $(STRICT)
	$(BIN)/python -m integration.cluster needs --install
	$(BIN)/python -m pytest integration -m chaos -p no:randomly

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Writes the command reference in README.md anew.
docs: $(VENV)/.test
	$(BIN)/python -m tests.readme --write

clusters-up clusters-down: clusters-%: $(VENV)/.test
	$(BIN)/python -m integration.cluster $*

clean: 
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; say which: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo $(VENV)/.test $(VENV)/.lint: $(VENV)/.%: pyproject.toml tests/constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[demo$(EXTRA_$*)]'
	touch $@

# An object store that checks every digest. It wants other versions than s3fs does, so it has an environment of its own.
$(STRICT): integration/ministack.txt | $(VENV)/bin/python
	$(BIN)/python -m venv $(VENV)/ministack
	$(VENV)/ministack/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

EXTRA_test := ,test
EXTRA_lint := ,lint,test
