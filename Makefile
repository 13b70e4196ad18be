# The one place for commands. `make help` lists them; each is a line that you could type yourself.
# PYTHON=python3.12 chooses the interpreter to install with; ARGS="…" is passed on to the command.
.DEFAULT_GOAL := help
.PHONY: help install demo test test-all test-unit test-fakes test-integration test-browser lint format types bench chaos test-faults test-gpu bench-gpu screenshots vendor \
  dashboard-types tools playground-model playground-creator doctor constraints clean
PY := .venv/bin/python
# two processes run the tests
SHARED := -n 2
export LITELLM_LOCAL_MODEL_COST_MAP := True

help:  ## print this list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/\1|\2/p' Makefile | awk -F'|' '{printf "  make %-18s %s\n", $$1, $$2}'

install:  ## install eva into .venv at pinned versions; does nothing if that is done
	@./install.sh

demo: install  ## play eva on the playground with a tiny model and print a report
	@.venv/bin/eva demo $(ARGS)

test: install lint tools  ## run everything: formatting, types, and all tests
	@$(MAKE) --no-print-directory -j2 types test-all

test-all: install  ## run all tests, without formatting and types
	@$(PY) -m pytest $(SHARED) --durations=25 --durations-min=5 $(ARGS)

test-unit: install  ## run the fast tests: pure code
	@$(PY) -m pytest $(SHARED) tests/unit -m "not database" $(ARGS)

test-fakes: install  ## run what needs no more than a database: the whole game on fakes, the API, the commands
	@$(PY) -m pytest $(SHARED) tests/unit -m database $(ARGS)

test-integration: install  ## run the slow tests: real Postgres, Ray, vLLM and TRL
	@$(PY) -m pytest tests/integration $(ARGS)

test-browser: tools  ## test the dashboard in Chromium
	@$(PY) -m pytest tests/browser $(ARGS)

lint: install  ## check formatting and style (ruff, Prettier) and the types of the dashboard's scripts (tsc)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check -q . || { echo "Not formatted: run 'make format'"; exit 1; }
	@$(PY) -m tests.support.tools style
	@$(PY) -m tests.support.tools types

format: install  ## format everything: Python (ruff), the dashboard's scripts and styles (Prettier)
	@$(PY) -m ruff check -q --select I --fix .
	@$(PY) -m ruff format .
	@$(PY) -m tests.support.tools format

types: install  ## check types (basedpyright)
	@$(PY) -m basedpyright

tools: install  ## install what lint and the browser tests need besides Python: Prettier, TypeScript, axe, Chromium
	@$(PY) -m tests.support.tools

screenshots: tools  ## take pictures of every view of the dashboard, into docs/screenshots (ARGS="RUN")
	@$(PY) -m tests.support.screenshots $(ARGS)

vendor: install  ## download the dashboard's libraries again, at the versions in static/vendor/lock.json
	@$(PY) -m api.dashboard.vendored_packages

dashboard-types: install  ## generate the OpenAPI document and the dashboard's type declarations again
	@$(PY) -m api.clients.openapi_document > docs/reference/openapi.json
	@$(PY) -m api.clients.declarations > api/dashboard/static/data/schema.d.ts

bench: install  ## run every benchmark against its baseline, one after another
	@for name in estimate preflight novelty streaming dispatch evolving generation iteration overlap online study service dashboard memory; do $(PY) -m benchmarks.$$name $(ARGS) || exit 1; done

test-gpu: install  ## run the tests that need a GPU; without one they are skipped
	@$(PY) -m pytest tests/gpu $(ARGS)

bench-gpu: install  ## measure training on this machine's GPU (ARGS="--out FOLDER --minutes 10")
	@$(PY) -m benchmarks.gpu $(ARGS)

test-faults: install  ## run the tests with deliberate kills and failures (the last ones with Ray, vLLM and TRL)
	@$(PY) -m pytest tests/faults $(ARGS)

chaos: install  ## kill many runs at random and write the figures into docs/reliability.md (ARGS="--runs 40 --real 2")
	@$(PY) -m benchmarks.chaos $(ARGS)

playground-model: install  ## train the playground's solver again (seeded; takes minutes)
	@$(PY) -m workers.playground.make_model --seed 0 --out workers/playground/solver $(ARGS)

playground-creator: install  ## train the playground's creator, which runs make when they first need it (seeded; takes minutes)
	@$(PY) -m workers.playground.make_creator --seed 0 --out eva-data/models/playground-creator $(ARGS)

doctor: install  ## check this machine and say how to fix what would fail
	@.venv/bin/eva doctor $(ARGS)

constraints: install  ## resolve the pinned versions again (UPGRADE=--upgrade takes newer ones)
	@for device in cpu gpu; do $(PY) -m uv pip compile -q pyproject.toml --extra $$device --extra dev $(UPGRADE) \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_31 --no-emit-index-url --no-emit-find-links \
	  --annotation-style line --custom-compile-command "make constraints" -o constraints/$$device.txt || exit 1; done

clean:  ## remove .venv and all caches; keeps the runs and checkpoints in eva-data
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build *.egg-info install.log
