# `make demo` and `make test` are the two commands to know; `make help` lists the rest.
# Needs python3 (3.11 or later), make and a package index. Everything goes into $(VENV).

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
PIP_VERSION := 26.3
UV_VERSION := 0.13.9

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt \
    --build-constraint constraints.txt
INPUTS := pyproject.toml constraints.txt
DEMO := .sales-mart/demo

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

##@ Use it
.PHONY: demo
demo: $(VENV)/.demo  ## Walk the sample through real servers on this computer
	$(BIN)/sales-mart run --local --data-dir $(DEMO) --config samples/pipeline_config.yaml \
	    --source samples/transactions.csv --business-date 2023-10-05

##@ Change it
.PHONY: test
test: $(VENV)/.dev  ## Run every test, in two processes (WORKERS=n for more)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.PHONY: chaos
chaos: $(VENV)/.dev  ## Attack every promise for CHAOS_MINUTES (15), by dice of CHAOS_SEED
	$(BIN)/python -m tests.chaos

.PHONY: lint
lint: $(VENV)/.dev  ## Check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: format
format: $(VENV)/.dev  ## Put style and formatting right
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: types
types: $(VENV)/.dev  ## Check types
	$(BIN)/pyright --pythonpath $(BIN)/python

# No server is asked: an address that does not answer stands in for BigQuery.
DBT_OPTIONS := --project-dir dbt --profiles-dir dbt --no-version-check --no-partial-parse --quiet
DBT := SALES_MART_BIGQUERY_METHOD=oauth-secrets \
    SALES_MART_DATA_WAREHOUSE__BIGQUERY__API_ENDPOINT=http://127.0.0.1:9 $(BIN)/dbt
COMPILED := build/dbt
TARGETS := postgres bigquery

.PHONY: dbt
dbt: $(VENV)/.dev  ## Parse the dbt project for both warehouses, warnings as errors
	@for target in $(TARGETS); do echo "dbt parse --target $$target"; \
	    $(DBT) parse --target $$target --warn-error $(DBT_OPTIONS) \
	        --target-path $(CURDIR)/$(COMPILED)/$$target --log-path $(CURDIR)/$(COMPILED)/$$target \
	        || exit 1; done

# The rules left out are about what the compiler writes, not about what we do: long lines, line
# ends, quotes around names, `x as x` where a macro has nothing to do, and the order of columns,
# which a contract fixes.
.PHONY: sql
sql: $(VENV)/.dev  ## Lint the SQL that dbt compiles, in each warehouse's dialect
	@for target in $(TARGETS); do echo "sqlfluff --dialect $$target"; \
	    $(DBT) compile --target $$target --no-introspect --no-populate-cache $(DBT_OPTIONS) \
	        --target-path $(CURDIR)/$(COMPILED)/$$target --log-path $(CURDIR)/$(COMPILED)/$$target \
	        || exit 1; \
	    $(BIN)/sqlfluff lint --disable-progress-bar --dialect $$target --templater raw \
	        --exclude-rules AL09,LT05,LT12,LT13,RF06,ST06 \
	        $(COMPILED)/$$target/compiled/sales_mart/models/*/*.sql || exit 1; done

.PHONY: docs
docs: $(VENV)/.docs  ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.PHONY: reference
reference: $(VENV)/.dev  ## Write the reference pages anew from the code
	$(BIN)/python scripts/reference.py

.PHONY: bench
bench: $(VENV)/.bench  ## Measure against what one would pick instead
	$(BIN)/python -m benchmarks

.PHONY: wheel
wheel: $(VENV)/.dev  ## Build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation --outdir dist

.PHONY: ci
ci:  ## Do what the continuous integration does
	.ci/run

##@ Keep it
.PHONY: constraints
constraints: $(VENV)/.pip  ## Resolve every dependency anew into constraints.txt
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --group docs --group bench \
	    --python-version 3.11 --universal --no-header --no-annotate --no-emit-index-url \
	    --upgrade -o constraints.txt

.PHONY: clean
clean:  ## Remove what was built and measured; the environment and .sales-mart stay
	rm -rf build dist site .pytest_cache .ruff_cache .hypothesis dbt/target dbt/logs

.PHONY: help
help:  ## List the targets
	@awk 'BEGIN {FS = ":.*## "} \
	    /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	    /^[a-z-]+:.*## / {sub(/:.*/, "", $$1); printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# One stamp per set of packages: the second call has nothing to do.
$(VENV)/.pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "sales_mart needs Python 3.11 or later, and $(PYTHON) is not." >&2; \
	    echo "Name another one: make PYTHON=python3.13 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet pip==$(PIP_VERSION)
	@touch $@

$(VENV)/.demo: $(VENV)/.pip $(INPUTS)
	$(PIP) --editable '.[local]'
	@touch $@

$(VENV)/.dev: $(VENV)/.pip $(INPUTS)
	$(PIP) --editable '.[local,testing]' --group dev
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: $(VENV)/.dev $(INPUTS)
	$(PIP) --group docs
	@touch $@

$(VENV)/.bench: $(VENV)/.dev $(INPUTS)
	$(PIP) --group bench
	@touch $@
