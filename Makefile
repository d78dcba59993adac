# Everything a newcomer needs. `make benchmark` and `make test` set themselves up; a second call finds it done.
#   make benchmark   train a slice, add the committed tables, search held-out tasks, build the leaderboard (build/benchmark)
#   make test        the test suite, without a browser
#   make test-oldest  the test suite with the oldest versions of the dependencies (an environment of its own; about an hour)
#   make test-site   the leaderboard's page in a browser (needs chromium)
#   make test-cluster  a Ray cluster of three nodes, nodes killed, tables on an S3 server on loopback (two minutes)
#   make lint        ruff, the wording of all texts, and the type checker basedpyright (some minutes)
#   make docs        the documentation as pages (build/docs); fails on any warning or broken link
#   make clean       remove what was built, the environment too
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: benchmark test test-oldest test-site test-cluster lint docs clean
.DELETE_ON_ERROR:

benchmark: $(VENV)/.run
	$(BIN)/metabench benchmark

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs -n 2 -m "not site and not cluster"

test-oldest: $(VENV)/oldest/.test
	OMP_NUM_THREADS=1 $(VENV)/oldest/bin/python -m pytest -q -rs -n 2 -m "not site and not cluster"

test-site: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs -m site

test-cluster: $(VENV)/.cluster
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs -m cluster tests/cluster

# The type checker must find nothing. Where stubs of pandas, scipy or torch are too narrow, a `cast` or `Any` at that place
# says so.
lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/words.py
	$(BIN)/basedpyright --project pyproject.toml --pythonpath $(BIN)/python

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find metabench tests -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: no '$(PYTHON)' found; name one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $$($(PYTHON) --version) is too old; Python 3.11 or later is needed: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "make: python's venv module is incomplete (on Debian: apt-get install python3-venv)" >&2; exit 1; }

$(VENV)/.run: $(BIN)/python constraints.txt pyproject.toml
	@echo "setting up $(VENV): a few minutes, once" >&2
	@$(PIP) --editable '.[methods,optuna]'
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@echo "adding what the tests need" >&2
	@$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/.docs: $(VENV)/.run
	@echo "adding what the documentation needs" >&2
	@$(PIP) --editable '.[docs]'
	@touch $@

# uv alone can ask for the oldest versions that the metadata allows; dependencies of dependencies are the newest
$(VENV)/oldest/.test: $(BIN)/python pyproject.toml
	@echo "setting up $(VENV)/oldest: some minutes, once" >&2
	@$(BIN)/python -m venv --clear $(VENV)/oldest
	@$(VENV)/oldest/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5'
	@$(VENV)/oldest/bin/python -m uv pip install --quiet --python $(VENV)/oldest/bin/python --resolution lowest-direct --editable '.[test]'
	@touch $@

# the S3 server's dependencies contradict the pins, so it has an environment of its own
$(VENV)/.cluster: $(VENV)/.test
	@echo "adding Ray, and an S3 server beside" >&2
	@$(PIP) --editable '.[test,ray]'
	@$(BIN)/python -m venv $(VENV)/s3
	@$(VENV)/s3/bin/python -m pip install --quiet --disable-pip-version-check 'moto[s3]==5.2.5' flask==3.1.3 flask-cors==6.0.5
	@touch $@
