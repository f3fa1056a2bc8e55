# Everything begins here: `make demo` and `make test` work on a fresh clone with Python 3.11 or newer, nothing else.

VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
# An installation is done again when pyproject.toml changes, and only then.
KEY := $(shell cksum < pyproject.toml | cut -d' ' -f1)
INSTALLED := $(VENV)/.installed-$(KEY)
INSTALLED_DEV := $(VENV)/.installed-dev-$(KEY)
PIP_ARGS ?=
PYTEST_ARGS ?=
# Where there is no NVIDIA GPU the CPU build of torch will do, a tenth of the size: PIP_ARGS='--extra-index-url ...'
# names an index that offers it, as does pip's own configuration.
PIP_INSTALL = $(BIN)/python -m pip install --quiet $(PIP_ARGS)

.PHONY: help demo install install-dev test test-all lint format readme bench clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo      install, train the easy arena for two minutes, evaluate, write a report and a replay'
	@echo 'make test      install, lint, check types, run the tests'
	@echo 'make test-all  the slow tests too'
	@echo 'make bench     measure speed; results go to benchmarks/results/'
	@echo 'make lint      ruff and mypy alone;  make format writes what ruff would change'
	@echo 'make install   .venv with metta in it;  install-dev: with what the tests need'
	@echo 'make clean     remove caches and build folders; .venv and train_dir stay'

demo: $(INSTALLED)
	@$(BIN)/metta demo $(DEMO_ARGS)

install: $(INSTALLED)
install-dev: $(INSTALLED_DEV)

# The stamp comes last: an installation that was interrupted is taken up again.
$(INSTALLED): | $(BIN)/activate
	@echo 'installing metta into $(VENV)'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade >/dev/null
	@$(PIP_INSTALL) --editable .
	@rm -f $(VENV)/.installed-*
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	@echo 'installing what the tests need into $(VENV)'
	@$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

# `activate` is the last file that venv writes.
$(BIN)/activate:
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer is needed; PYTHON=<path> names one' >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)

lint: $(INSTALLED_DEV)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(INSTALLED_DEV)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

readme: $(INSTALLED)
	@$(BIN)/python tests/test_readme.py

# Side by side, as many as there are cores, four at most. The slow ones run one by one: some of them measure.
test: lint
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 $(PYTEST_ARGS)

test-all: test
	@$(BIN)/python -m pytest -m 'slow or gpu or browser' $(PYTEST_ARGS)

bench: $(INSTALLED)
	@for script in $(filter-out benchmarks/harness.py,$(wildcard benchmarks/*.py)); do \
		$(BIN)/python $$script || exit 1; done

clean:
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find src tests benchmarks tools experiments -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
