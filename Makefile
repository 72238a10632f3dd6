# make demo · make test · make lint · make bench · make soak · make pages · make clean
#
# Each makes the virtual environment .venv, installs what it needs there at the versions of constraints.txt, and runs.
# One environment serves all four, so that nothing is downloaded twice; a second run installs nothing.
# Settings: PYTHON=python3.12   PYTEST_ARGS="-k wire"   BENCH_ARGS="--help"   SOAK_ARGS="--help"   PIP_ARGS="--extra-index-url ..."

PYTHON ?= python3
PIP_ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
SOAK_ARGS ?=
JOBS ?= 2

# The oldest Keras the tests run on: 3.1.0 with TensorFlow and torch; 3.10.0 with JAX, whose present releases have no
# `jax.spmd_mode`, which Keras called up to 3.9.
OLDEST := 3.1.0
OLDEST_JAX := 3.10.0
# Keras 2 as it goes on beside Keras 3: of the minor version of TensorFlow, on which alone it runs.
LEGACY := 2.21.0

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
BASE := .venv/.have-base
KERAS_OLDEST := .keras-oldest/.have-$(OLDEST)
KERAS_OLDEST_JAX := .keras-oldest-jax/.have-$(OLDEST_JAX)
KERAS_LEGACY := .keras-legacy/.have-$(LEGACY)

export TF_CPP_MIN_LOG_LEVEL ?= 2
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test lint bench soak pages clean

help:
	@sed -n '1,5s/^# \{0,1\}//p' Makefile

demo: .venv/.have-demo
	$(BIN)/python examples/solar_cells.py

test: .venv/.have-test $(KERAS_OLDEST) $(KERAS_OLDEST_JAX) $(KERAS_LEGACY)
	PROCESSION_OLDEST_KERAS="$(CURDIR)/.keras-oldest" \
	PROCESSION_OLDEST_KERAS_JAX="$(CURDIR)/.keras-oldest-jax" \
	PROCESSION_LEGACY_KERAS="$(CURDIR)/.keras-legacy" \
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -r fEXs --durations 10 $(PYTEST_ARGS)

lint: .venv/.have-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.have-bench
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

soak: .venv/.have-test
	$(BIN)/python -m tests.soak $(SOAK_ARGS)

# docs/errors.md and docs/errors/: from the catalogue and the codes in the package
pages: .venv/.have-lint
	$(BIN)/python -m procession.doctor.telling.pages docs

clean:
	rm -rf .venv .keras-oldest .keras-oldest-jax .keras-legacy build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# --- environments -----------------------------------------------------------------------------------------------------

WHAT_demo := TensorFlow, Keras and the photographs (about 0.4 GB: some minutes on a slow line)
WHAT_test := TensorFlow, JAX, torch, Keras and the test tools (over 1 GB: several minutes on a slow line)
WHAT_lint := ruff and mypy (under a minute)
WHAT_bench := TensorFlow, JAX, torch, Grain and SPDL (over 1 GB: several minutes on a slow line)

$(BASE): constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Procession needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "==> making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv
	@$(PIP) install $(PIP_ARGS) -c constraints.txt hatchling editables
	@touch $@

.venv/.have-%: pyproject.toml constraints.txt | $(BASE)
	@echo "==> installing for 'make $*': $(WHAT_$*)"
	@start=$$(date +%s); \
	  $(PIP) install $(PIP_ARGS) -c constraints.txt --no-build-isolation --editable '.[$*]' \
	  && echo "==> installed in $$(($$(date +%s) - start)) s"
	@touch $@

$(KERAS_OLDEST): | $(BASE)
	@echo "==> fetching Keras $(OLDEST), the oldest supported with TensorFlow and torch"
	@rm -rf $(@D)
	@$(PIP) install $(PIP_ARGS) --no-deps --target $(@D) keras==$(OLDEST)
	@touch $@

$(KERAS_OLDEST_JAX): | $(BASE)
	@echo "==> fetching Keras $(OLDEST_JAX), the oldest supported with JAX"
	@rm -rf $(@D)
	@$(PIP) install $(PIP_ARGS) --no-deps --target $(@D) keras==$(OLDEST_JAX)
	@touch $@

$(KERAS_LEGACY): | $(BASE)
	@echo "==> fetching tf_keras $(LEGACY), the legacy Keras 2"
	@rm -rf $(@D)
	@$(PIP) install $(PIP_ARGS) --no-deps --target $(@D) tf_keras==$(LEGACY)
	@touch $@
