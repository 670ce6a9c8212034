# Everything is run from here, by people and by CI alike. `make help` lists it.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Without what the tests need, as a deployment is: some of it would be loaded by every command.
BENCH := .venv-bench

.DEFAULT_GOAL := help
.PHONY: help install demo ui servers test torture edits scale redis bench wheel lint format clean

help:  ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## */\t/' | expand -t 10

# What `make demo` needs, without what only tests and lint need. Modules are compiled when they are
# first imported, which most never are.
DEMO := $(VENV)/.installed-for-demo

install: $(VENV)/.installed  ## Install into .venv, every version as pinned in constraints.txt

$(VENV)/.installed: EXTRAS := demo,dev
$(DEMO): EXTRAS := demo
$(DEMO): FLAGS := --no-compile
$(BENCH)/.installed: EXTRAS := demo,bench
$(VENV)/.installed $(DEMO) $(BENCH)/.installed: pyproject.toml constraints.txt
	@echo "Installing into $(@D); a first time takes a minute or two ..."
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(FLAGS) \
		--constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

# Where everything is installed, that is enough.
demo ui: $(if $(wildcard $(VENV)/.installed),install,$(DEMO))

demo:  ## Four nights of a realistic year, with embedded servers; SHORT=1 for the first only
	@$(BIN)/sqp-refresh demo $(if $(SHORT),--short)

ui:  ## Serve the Dagster UI with the demo's data; PORT=n for another port than 3000
	@$(BIN)/sqp-refresh demo --ui $(if $(PORT),--port $(PORT))

servers: install  ## Fetch Postgres 14, 15 and 17 for the tests, or say why not
	@$(BIN)/python -m sqp_refresh_tests.servers

test: servers  ## Run the tests; they start their own servers
	@$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

torture: install  ## Kill refreshes of a year at 50 random moments; SEED=n repeats a run
	@$(BIN)/python -m sqp_refresh_tests.torture $(if $(SEED),--seed $(SEED))

edits: servers  ## Edit the tables 300 times during refreshes; SEED=n repeats a run, POSTGRES=14 too
	@$(BIN)/python -m sqp_refresh_tests.torture.edits $(if $(SEED),--seed $(SEED)) \
		$(if $(POSTGRES),--postgres $(POSTGRES))

scale: redis install  ## Backfill a year by one and by two Celery workers, one killed; needs Redis
	@$(BIN)/python -m sqp_refresh_tests.scale

redis:
	@command -v redis-server >/dev/null || if [ "$$(id -u)" = 0 ]; then \
		echo "Installing redis-server, a package of Debian ..."; \
		apt-get --quiet=2 update && DEBIAN_FRONTEND=noninteractive \
		apt-get --quiet=2 install --yes --no-install-recommends redis-server >/dev/null; \
	else \
		echo "make scale needs a Redis, which root installs: apt-get install redis-server" >&2; \
		exit 1; \
	fi

bench: $(BENCH)/.installed  ## Measure beside peers and the limit; QUICK=1, ROWS=n, RUNS=n for less
	@$(BENCH)/bin/python -m benchmarks $(if $(QUICK),--quick) $(if $(ROWS),--rows $(ROWS)) \
		$(if $(RUNS),--runs $(RUNS))

wheel:  ## Build the wheel into dist/, install it in an empty environment, and run its demo there
	@rm -rf build dist
	@set -e; there=$$(mktemp -d); trap 'rm -rf "$$there"' EXIT; \
	echo "Building the wheel, and installing it in an empty environment ..."; \
	$(PYTHON) -m venv "$$there/venv"; \
	"$$there/venv/bin/pip" wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .; \
	"$$there/venv/bin/pip" install --quiet --disable-pip-version-check \
		--constraint constraints.txt "$$(ls dist/*.whl)[demo]"; \
	cd "$$there"; venv/bin/sqp-refresh demo

lint: install  ## Check style, import rules, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright --warnings

format: install  ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:  ## Remove the demo's data and everything installed
	@rm -rf $(VENV) $(BENCH) .demo .bench .servers build dist *.egg-info
