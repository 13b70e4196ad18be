# The one place for commands. `make help` lists them; each is a line that a person could type.
# PYTHON=python3.12 names the interpreter to install with; ARGS="…" is handed on to what runs.
.DEFAULT_GOAL := help
.PHONY: help install demo test test-unit test-integration test-browser lint format types bench chaos test-faults screenshots vendor \
  dashboard-types tools playground-model doctor constraints clean
PY := .venv/bin/python
# two processes share the tests
SHARED := -n 2
export LITELLM_LOCAL_MODEL_COST_MAP := True

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/\1|\2/p' Makefile | awk -F'|' '{printf "  make %-18s %s\n", $$1, $$2}'

install:  ## install eva into .venv at pinned versions (once: after that it does nothing)
	@./install.sh

demo: install  ## play three iterations of eva on the playground and show what came of it
	@.venv/bin/eva demo $(ARGS)

test: install lint types tools  ## everything: style, types, structure, unit, integration and browser tests
	@$(PY) -m pytest $(SHARED) $(ARGS)

test-unit: install  ## the fast tests: pure parts, and the whole game on fakes
	@$(PY) -m pytest $(SHARED) tests/unit $(ARGS)

test-integration: install  ## the slow tests: real Postgres, Ray, vLLM and TRL
	@$(PY) -m pytest tests/integration $(ARGS)

test-browser: tools  ## the dashboard in a real Chromium
	@$(PY) -m pytest tests/browser $(ARGS)

lint: install  ## formatting and style (ruff, Prettier), and the types of the dashboard's scripts (tsc)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check -q . || { echo "Not formatted: run 'make format'"; exit 1; }
	@$(PY) -m tests.support.tools style
	@$(PY) -m tests.support.tools types

format: install  ## format everything: Python (ruff), the dashboard's scripts and styles (Prettier)
	@$(PY) -m ruff check -q --select I --fix .
	@$(PY) -m ruff format .
	@$(PY) -m tests.support.tools format

types: install  ## types (basedpyright)
	@$(PY) -m basedpyright

tools: install  ## what the browser tests need beside Python: Chromium, and axe
	@$(PY) -m tests.support.tools

screenshots: tools  ## pictures of every view of the dashboard, into docs/screenshots (ARGS="RUN")
	@$(PY) -m tests.support.screenshots $(ARGS)

vendor: install  ## fetch the dashboard's libraries anew, at the versions of static/vendor/lock.json
	@$(PY) -m api.dashboard.vendored_packages

dashboard-types: install  ## the API's document and the dashboard's declarations of it, anew
	@$(PY) -m api.openapi.document > docs/reference/openapi.json
	@$(PY) -m api.dashboard.declarations > api/dashboard/static/data/schema.d.ts

bench: install  ## every benchmark against its baseline, one after another
	@for name in estimate novelty streaming dispatch evolving generation service dashboard; do $(PY) -m benchmarks.$$name $(ARGS) || exit 1; done

test-faults: install  ## kills and failures on purpose (the last of them with Ray, vLLM and TRL)
	@$(PY) -m pytest tests/faults $(ARGS)

chaos: install  ## many runs killed by chance; writes its figures into docs/reliability.md (ARGS="--runs 40 --real 2")
	@$(PY) -m benchmarks.chaos $(ARGS)

playground-model: install  ## make the playground's solver anew (seeded, minutes)
	@$(PY) -m workers.playground.make_model --seed 0 --out workers/playground/solver $(ARGS)

doctor: install  ## what is installed, which device and database, what would fail, and the remedy
	@.venv/bin/eva doctor $(ARGS)

constraints: install  ## resolve the pinned versions anew (UPGRADE=--upgrade takes newer ones)
	@for device in cpu gpu; do $(PY) -m uv pip compile -q pyproject.toml --extra $$device --extra dev $(UPGRADE) \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_31 --no-emit-index-url --no-emit-find-links \
	  --annotation-style line --custom-compile-command "make constraints" -o constraints/$$device.txt || exit 1; done

clean:  ## remove .venv and all caches; runs and checkpoints in eva-data stay
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build *.egg-info install.log
