# Everything a newcomer needs. `make benchmark` and `make test` set themselves up; a second call finds it done.
#   make benchmark   train a slice, add the committed tables, search held-out tasks, build the leaderboard (build/benchmark)
#   make test        the test suite, without a browser
#   make test-site   the leaderboard's page in a browser (needs chromium)
#   make lint        ruff
#   make clean       remove what was built, the environment too
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: benchmark test test-site lint clean
.DELETE_ON_ERROR:

benchmark: $(VENV)/.run
	$(BIN)/metabench benchmark

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs -n 2 -m "not site"

test-site: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs -m site

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

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
	@$(PIP) --editable '.[optuna]'
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@echo "adding what the tests need" >&2
	@$(PIP) --editable '.[test]'
	@touch $@
