# Every target sets up what it needs: Python packages into .venv, Node packages into node_modules.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)
# Where bytecode is not kept, each of the many processes compiles all modules again.
unexport PYTHONDONTWRITEBYTECODE
# The embedded Postgres of every target: 16, or 18 with PG=18.
ifdef PG
export POSTGRES_VERSION := $(PG)
endif

.DEFAULT_GOAL := help
.PHONY: demo dev test test-long lint bench migrate help lock

demo: ready ## run the main job once: sample, consent, clone, preview, launch gate, speech (PROVIDER=, SAMPLE=, FLOW=speech)
	@python -m scripts demo $(if $(FLOW),--flow $(FLOW)) $(if $(PROVIDER),--provider $(PROVIDER)) $(if $(SAMPLE),--sample "$(SAMPLE)")

dev: ready ## start everything and stay: Postgres, Auth, Data API, Storage, simulator, service, consumers (PROVIDER=, PORT=)
	@$(if $(PORT),PORT="$(PORT)") python -m scripts dev $(if $(PROVIDER),--provider $(PROVIDER))

test: ready ## run every test, those of the database half on Postgres 16, half on 18, tomorrow the other way (ARGS='-k name' narrows them, ARGS=--every-postgres runs each on both, PG=18 runs all on 18)
	@python -m pytest --postgres-of-the-day -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-long: ready ## thousands of random orders of events, storms of 200 attempts, and chaos by name; takes many minutes
	@python -m pytest -m long $(ARGS)

lint: ready ## ruff (format and rules), the layers of imports, private names, and the type checker
	@ruff format --check .
	@ruff check .
	@ruff check --quiet --preview --select PLC2701 . # an import of a private name of another package
	@lint-imports --no-logo --no-cache
	@basedpyright

bench: ready ## measure, storm and chaos included, each figure against a floor from the same run; writes .local/bench.json
	@python -m scripts bench $(ARGS)

migrate: ready ## push supabase/migrations to DATABASE_URL
	@python -m scripts migrate

# Production has the versions that development tests with. A pin moves only where pyproject.toml asks for it.
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

lock: ready ## write the lock files from pyproject.toml and package.json, keeping the versions they have
	@$(COMPILE) --all-extras pyproject.toml -o requirements.lock
	@$(COMPILE) --constraint requirements.lock pyproject.toml -o requirements-production.lock
	@python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['build-system']['requires'], sep='\n')" \
	  | $(COMPILE) --constraint requirements.lock - -o requirements-build.lock
	@npm install --package-lock-only

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-9s %s\n' "$$name" "$$text"; done

.PHONY: ready
ready: .venv/installed node_modules/installed

# An interrupted installation leaves an incomplete folder. The file `installed` marks a finished one; without it, start over.
.venv/installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	@echo "Installing Python packages into .venv (once) …"
	@test -e $@ || rm -rf .venv
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { echo "The venv module is missing: on Debian and Ubuntu, apt-get install python3-venv"; rm -rf .venv; exit 1; }
	@{ pip install --disable-pip-version-check --no-deps --require-hashes -r requirements.lock && touch $@; } | $(PYTHON) scripts/local/count_packages.py requirements.lock
	@test -e $@

node_modules/installed: package-lock.json .venv/installed
	@echo "Installing Node packages into node_modules (once) …"
	@rm -rf node_modules
	@npm install --loglevel=error --ignore-scripts --no-save >/dev/null \
	  || { echo "The Node packages could not be installed: npm says why, above. Correct that and run make again."; exit 1; }
	@touch $@
