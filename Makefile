# `make demo` and `make test` are the two commands to know; `make help` lists the rest.
# Needs python3 (3.11 or later), make and a package index. Everything goes into $(VENV).

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BUILDER ?= docker

BIN := $(VENV)/bin
# Every package in the version of constraints.txt, and only if its hash stands there. An editable
# folder has no hash, so the project goes in first and alone; what builds it is checked as well.
UV := $(BIN)/python scripts/run_uv.py pip install --build-constraints constraints.txt
LOCKED := $(UV) --require-hashes -c constraints.txt -r pyproject.toml
EDITABLE := $(UV) --no-deps --editable .
INPUTS := pyproject.toml constraints.txt
GROUPS := audit bench build dev docs lock
DEV_EXTRAS := api azure excel local pipeline s3 testing workflows
DEMO := .sales-mart/demo

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

##@ Use it
.PHONY: demo
demo: $(VENV)/.demo  ## Run the sample through real servers on this computer
	$(BIN)/sales-mart run --local --data-dir $(DEMO) --config samples/pipeline_config.yaml \
	    --source samples/transactions.csv --business-date 2023-10-05

##@ Change it
.PHONY: test
test: $(VENV)/.dev  ## Run every test, in two processes (WORKERS=n for more)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: unit
unit: $(VENV)/.dev  ## Run the tests that need no server
	$(BIN)/python -m pytest tests/unit -n $(WORKERS)

.PHONY: e2e
e2e: $(VENV)/.dev  ## Install the chart on the cluster in KUBECONFIG, and put it to the test
	$(BIN)/python -m pytest tests/e2e -p no:randomly --timeout 3600 -rs

.PHONY: chaos
chaos: $(VENV)/.dev  ## Attack every promise for CHAOS_MINUTES (40); CHAOS_SEED repeats a run
	PYTHONPATH=tests $(BIN)/python -m chaos

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
DBT_PATHS = --target-path "$(CURDIR)/$(COMPILED)/$$target" --log-path "$(CURDIR)/$(COMPILED)/$$target"
TARGETS := postgres bigquery

.PHONY: dbt
dbt: $(VENV)/.dev  ## Parse the dbt project for both warehouses, warnings as errors
	@for target in $(TARGETS); do echo "dbt parse --target $$target"; \
	    $(DBT) parse --target $$target --warn-error $(DBT_OPTIONS) $(DBT_PATHS) \
	        || exit 1; done

# The rules left out are about what the compiler writes, not about what we do: long lines, line
# ends, quotes around names, `x as x` where a macro has nothing to do, and the order of columns,
# which a contract fixes.
.PHONY: sql
sql: $(VENV)/.dev  ## Lint the SQL that dbt compiles, in each warehouse's dialect
	@for target in $(TARGETS); do echo "sqlfluff --dialect $$target"; \
	    rm -rf $(COMPILED)/$$target/compiled; \
	    $(DBT) compile --target $$target --no-introspect --no-populate-cache $(DBT_OPTIONS) $(DBT_PATHS) \
	        || exit 1; \
	    $(BIN)/sqlfluff lint --disable-progress-bar --dialect $$target --templater raw \
	        --exclude-rules AL09,LT05,LT12,LT13,RF06,ST06 \
	        $(COMPILED)/$$target/compiled/sales_mart/models/*/*.sql || exit 1; done

.PHONY: docs
docs: $(VENV)/.docs  ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.PHONY: reference
reference: $(VENV)/.dev  ## Write what is generated anew: reference, manifests, chart schema, pictures
	$(BIN)/python scripts/reference.py
	$(BIN)/python -m sales_mart.workflows charts/sales-mart/files
	$(BIN)/python scripts/chart_values.py
	$(BIN)/python scripts/pictures.py
	$(BIN)/python scripts/diagrams.py
	$(BIN)/python scripts/plots.py

.PHONY: image
image:  ## Build the image with docker (BUILDER=podman or buildah for another)
	$(BUILDER) build --tag sales-mart:dev --build-arg REVISION="$$(git rev-parse HEAD)" .

.PHONY: bench
bench: $(VENV)/.bench  ## Measure against what one would pick instead
	$(BIN)/python -m benchmarks

.PHONY: bench-cluster
bench-cluster: $(VENV)/.dev  ## Measure how the workflow scales on the cluster in KUBECONFIG
	$(BIN)/python -m pytest tests/e2e/bench_scale_out.py -p no:randomly --timeout 7200 -s -q

.PHONY: wheel
wheel: $(VENV)/.dev  ## Build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation --outdir dist

.PHONY: sbom
sbom: $(VENV)/.dev  ## Write what a release installs into dist/: SBOM (CycloneDX), licences and their texts
	$(BIN)/python scripts/sbom.py dist

.PHONY: release
release: wheel sbom  ## Build what a release has into dist/: wheel, sdist, SBOM, licences, constraints
	$(BIN)/python -m build --sdist --no-isolation --outdir dist
	cp constraints.txt dist

# It asks a database about every pinned version: what is known changes without a change here.
.PHONY: audit
audit: $(VENV)/.audit  ## Ask for known vulnerabilities of the pinned versions; needs the network
	$(BIN)/pip-audit --disable-pip --require-hashes -r constraints.txt

# A finding is not tried out on its service. Findings that are none may have moved to other lines:
# the hook writes that down, into a copy here, and ends with 3.
.PHONY: secrets
secrets: $(VENV)/.dev  ## Look for keys and passwords in what git has
	@known=$$(mktemp); trap 'rm -f "$$known"' EXIT; cp .secrets.baseline "$$known"; \
	    said=$$(git ls-files -z ':!.secrets.baseline' | xargs -0 sh -c '"$$0" "$$@" || [ $$? = 3 ]' \
	        $(BIN)/detect-secrets-hook --no-verify --baseline "$$known") \
	    || { echo "$$said"; exit 1; }

.PHONY: ci
ci:  ## Do what the continuous integration does
	.ci/run

##@ Keep it
.PHONY: constraints
constraints: $(VENV)/.uv  ## Resolve every dependency anew into constraints.txt, with hashes
	$(BIN)/python scripts/run_uv.py pip compile pyproject.toml --all-extras $(GROUPS:%=--group %) \
	    --python-version 3.11 --universal --no-header --no-annotate --no-emit-index-url \
	    --generate-hashes --upgrade -o constraints.txt

.PHONY: clean
clean:  ## Remove what was built and measured; the environment and .sales-mart stay
	rm -rf build dist site .pytest_cache .ruff_cache .hypothesis dbt/target dbt/logs

.PHONY: help
help:  ## List the targets
	@awk 'BEGIN {FS = ":.*## "} \
	    /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	    /^[a-z0-9-]+:.*## / {sub(/:.*/, "", $$1); printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# One stamp per set of packages: the second call has nothing to do.
$(VENV)/.uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "sales_mart needs Python 3.11 or later, and $(PYTHON) is not." >&2; \
	    echo "Name another one: make PYTHON=python3.13 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@# An old pip takes versions and hashes from requirements only.
	sed -n '/^uv==/,/[^\\]$$/p' constraints.txt >$(VENV)/uv.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet \
	    --require-hashes -r $(VENV)/uv.txt
	@touch $@

$(VENV)/.demo: $(VENV)/.uv $(INPUTS)
	$(EDITABLE)
	$(LOCKED) --extra local
	@touch $@

$(VENV)/.dev: $(VENV)/.uv $(INPUTS)
	$(EDITABLE)
	$(LOCKED) $(DEV_EXTRAS:%=--extra %) --group dev
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: $(VENV)/.dev $(INPUTS)
	$(LOCKED) --group docs
	@touch $@

$(VENV)/.audit: $(VENV)/.uv $(INPUTS)
	$(LOCKED) --group audit
	@touch $@

$(VENV)/.bench: $(VENV)/.dev $(INPUTS)
	$(LOCKED) --group bench
	@touch $@
