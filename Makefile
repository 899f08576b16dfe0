# Two commands are enough: `make run` serves the example site, `make test` runs every test.
# `make check` adds lint, types and the layer test; `make conformance` runs the whole product of
# models × TLS × calls × workers; `make bench` compares with every other server, `make bench QUICK=1` in three minutes.

PYTHON ?= $(shell tools/newest-python)
VENV := .venv
BIN := $(VENV)/bin

run: $(VENV)/.run
	$(BIN)/allcomers serve examples/site

test: $(VENV)/.test
	$(BIN)/pytest -n 2 --dist worksteal

check: $(VENV)/.test
	$(BIN)/ruff check src tests bench examples setup.py
	$(BIN)/ruff format --check src tests bench examples setup.py
	$(BIN)/mypy
	$(BIN)/python tools/options-doc --check
	$(BIN)/python examples/media/make.py check
	$(BIN)/pytest tests/test_layers.py

conformance: $(VENV)/.test
	$(BIN)/pytest -n 2 tests/conformance.py

bench: $(VENV)/.test
	tools/bench-packages
	$(BIN)/python -m bench $(if $(QUICK),--quick) $(BENCH)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.run: $(VENV)/bin/python pyproject.toml setup.py $(wildcard src/allcomers/*/*.pyx)
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.test: $(VENV)/.run tools/system-packages
	tools/system-packages
	$(BIN)/pip install --quiet --group test --group check
	touch $@

clean:
	rm -rf $(VENV) build dist src/*.egg-info src/allcomers/*/_*.c src/allcomers/*/*.so

.PHONY: run test check conformance bench clean
