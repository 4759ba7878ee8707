# Needs Python 3.10 or newer, make and git; the rest goes into .venv, over the network once.
# Paths are relative and quoted, and programs run as modules, so the folder may have a space in its
# name and may be moved.

ROUNDS ?= 15
ARGS ?=
WORKERS = "$$("$(PY)" -c 'import os; print(min(8, 2 * (os.cpu_count() or 1)))')"
# A benchmark is a module that takes --rounds; the others in the folder help them.
BENCH ?= $(basename $(notdir $(shell grep -l '"--rounds"' benchmarks/*.py)))

# `make PYTHON=/path/to/python3` chooses the interpreter, and each version has a folder of its own, so that one may
# change between them; otherwise .venv is kept, or made with the first that is new enough.
ifdef PYTHON
CANDIDATES := "$(PYTHON)"
VENV := .venv-$(or $(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null),none)
else
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python3.10 python
VENV := .venv
endif

ifeq ($(OS),Windows_NT)
PY := $(VENV)/Scripts/python.exe
else
PY := $(VENV)/bin/python
endif
# What is installed for the work on the skill has the versions of constraints.txt, until `make lock` looks for newer ones.
PIP := "$(PY)" -m pip install --quiet --no-input --disable-pip-version-check
LOCKED := --constraint constraints.txt

BROWSERS := chromium chromium-browser google-chrome google-chrome-stable

.DEFAULT_GOAL := help
.PHONY: help demo test check team storm mutants page validate lint types bench docs sandbox lock clean skill package picture site

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.run ## show the summary of an invented account; no key needed
	@"$(PY)" -m tests.demo $(ARGS)

# Twice as many workers as processors: many tests wait for a server that is slow on purpose.
# Compiled first, as many of the programs that the tests start may write nothing.
# With EVERY_CASE=1, tests that try a spread of combinations try all of them.
test: export EVERY_CASE := $(EVERY_CASE)
test: $(VENV)/.dev ## run the tests; ARGS="tests/test_docs.py" for some of them
	@"$(PY)" -m compileall -q scripts
	@"$(PY)" -m pytest -n $(WORKERS) $(ARGS)

check: lint types test ## what CI runs: lint, types and tests

team: $(VENV)/.dev ## the tests of budgets, reports and export once more, with the ledger on a PostgreSQL server
	@"$(PY)" -m pytest -m team -n $(WORKERS) $(ARGS)

storm: $(VENV)/.dev ## the full-size runs, some minutes; ARGS="-k clean" for some of them
	@"$(PY)" -m pytest -m storm --timeout 1800 $(ARGS)

mutants: $(VENV)/.dev ## break what counts money and see whether a test notices, an hour; ARGS="--count 20 --only money"
	@PYTHONPATH=.:scripts "$(PY)" -m tests.mutation $(ARGS)

page: $(VENV)/.dev .tools/.page ## the report in a headless Chromium, with axe; screenshots go to .tools/shots
	@PAGE_SHOTS=.tools/shots "$(PY)" -m pytest --timeout 600 tests/test_report_browser.py $(ARGS)

validate: $(VENV)/.dev ## public validators and real installs, minutes and 2 GB the first time; ARGS="clawhub" for some of them
	@PYTHONPATH=scripts "$(PY)" -m tests.validate $(ARGS)

lint: $(VENV)/.dev ## ruff, and the plan of the code
	@"$(PY)" -m tests.plan
	@"$(PY)" -m ruff check scripts tests benchmarks release
	@"$(PY)" -m ruff format --check scripts benchmarks release

types: $(VENV)/.dev ## mypy, strict, on scripts/
	@"$(PY)" -m mypy

bench: $(VENV)/.dev ## time both programs beside what else one would run; ROUNDS=15, BENCH="summary" for one of them
	@for name in $(BENCH); do \
	  echo "== benchmarks/$$name.py"; \
	  "$(PY)" -m "benchmarks.$$name" --rounds $(ROUNDS) || exit 1; \
	done

docs: $(VENV)/.run ## write the programs' help into references/stats.md and references/cost_tracker.md
	@"$(PY)" -m tests.write_docs

skill: $(VENV)/.made ## write the skill alone, its zip and its plugin into dist/
	@"$(PY)" -m release.skill $(ARGS)

package: $(VENV)/.made ## build the wheel and the sdist into dist/
	@test -x .tools/lock/bin/uv || { $(PIP) --target .tools/lock uv; }
	@.tools/lock/bin/uv build --quiet --out-dir dist

# The documents alone: what they name of the code has to be there as well, for its links.
SITE := README.md SKILL.md AGENTS.md ARCHITECTURE.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE \
  credentials.env.example references tests/plan.py

site: .tools/site/.made ## the documents as a site in dist/site, every link checked
	@rm -rf .tools/pages && mkdir -p .tools/pages && tar -cf - $(SITE) | tar -xf - -C .tools/pages
	@.tools/site/bin/mkdocs build --quiet --strict --config-file release/mkdocs.yml && echo dist/site

.tools/site/.made: requirements-site.txt $(VENV)/.made
	@"$(PY)" -m venv .tools/site && .tools/site/bin/python -m pip install --quiet --no-input -r requirements-site.txt
	@touch $@

picture: $(VENV)/.run ## draw README's picture from real output
	@PYTHONPATH=.:scripts "$(PY)" -m release.picture

sandbox: $(VENV)/.run ## serve the invented account, with a home to throw away, until ^C
	@"$(PY)" -m tests.sandbox

lock: $(VENV)/.made ## write the newest versions of the test tools, for every Python at once, into constraints.txt
	@test -x .tools/lock/bin/uv || { $(PIP) --target .tools/lock uv; }
	@UV_CUSTOM_COMPILE_COMMAND="make lock" .tools/lock/bin/uv pip compile --quiet --universal --python-version 3.10 \
	  --no-annotate --upgrade --output-file constraints.txt requirements-dev.txt
	@rm -f .venv*/.run .venv*/.dev

clean: ## delete .venv, .tools and every cache
	rm -rf .venv .venv-* .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* dist
	find scripts tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# One that works is kept as it is; anything else is made anew.
$(VENV)/.made:
	@for python in $(CANDIDATES); do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && break; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then \
	  printf '%s\n' 'Python 3.10 or newer is needed and is none of these: $(CANDIDATES)' \
	    "python3 says: $$(python3 --version 2>&1)" 'Name another: make PYTHON=/path/to/python3' >&2; \
	  exit 1; \
	fi; \
	if ! "$(PY)" -c 'import pip, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then \
	  echo "Making $(VENV) with $$("$$python" --version)"; \
	  "$$python" -m venv --clear $(VENV) || { \
	    echo "The virtual environment could not be made; on Debian and Ubuntu: apt install python3-venv" >&2; \
	    exit 1; \
	  }; \
	fi
	@touch $@

$(VENV)/.run: requirements.txt constraints.txt $(VENV)/.made
	@echo "Installing requests and python-dotenv into $(VENV) (once; some seconds)"
	@$(PIP) $(LOCKED) -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	@echo "Installing the test tools into $(VENV) (once; a minute or so)"
	@$(PIP) $(LOCKED) -r requirements-dev.txt
	@# Ships the vocabularies that tiktoken would download; without what it needs itself, and out of the way.
	@test -d $(VENV)/vocabulary || $(PIP) --no-deps --target $(VENV)/vocabulary llama-index-core==0.14.25
	@touch $@

# axe-core and playwright-core come from npm, without running scripts of theirs; the browser from the system.
.tools/.page:
	@command -v npm >/dev/null || { echo "npm is needed; on Debian and Ubuntu: apt install npm" >&2; exit 1; }
	@for name in $(BROWSERS); do [ -n "$$CHROMIUM" ] || CHROMIUM=$$(command -v "$$name"); done; \
	if [ -z "$$CHROMIUM" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing Chromium (once; a minute or so)"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium >/dev/null; \
	  else \
	    echo "Chromium is needed: install it (on Debian: apt install chromium), or name one: CHROMIUM=/path/to/it" >&2; \
	    exit 1; \
	  fi; \
	fi
	@echo "Installing axe-core and playwright-core into .tools (once; some seconds)"
	@mkdir -p .tools && npm install --prefix .tools --ignore-scripts --no-audit --no-fund --silent axe-core@4 playwright-core@1
	@touch $@
