# Everything a newcomer needs: make demo, make test. Python 3.11 or later with venv is all that has to be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test bench fuzz clean

demo: $(INSTALLED)
	rm -rf demo
	$(BIN)/linkage demo --out demo

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 --dist loadfile

bench: $(INSTALLED)
	$(BIN)/python tests/bench/run.py $(ARGS)

# Every parser of what another party writes, for at most so many inputs and seconds each (Linux).
fuzz: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[fuzz]"
	$(BIN)/python -m tests.fuzz.run all --runs $(or $(RUNS),20000) --seconds $(or $(SECONDS),60)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
