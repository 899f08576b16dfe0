# Two commands are enough: `make run` serves the example site, `make test` runs every test.
# `make check` adds lint, types and the layer test; `make conformance` runs the whole product of
# models × TLS × calls × workers, and real apps and a real browser on all models; `make bench` compares with every other
# server, `make bench QUICK=1` in three minutes; `make frameworks` runs the suites of Starlette, uvicorn, httpx, requests
# and Flask against this server, QUICK=1 the part that CI runs.

PYTHON ?= $(shell tools/newest-python)
VENV := .venv
BIN := $(VENV)/bin
TESTERS := 4 # processes that run tests: most tests wait for a server, so more than there are cores

run: $(VENV)/.run
	$(BIN)/allcomers serve examples/site

test: $(VENV)/.test
	$(BIN)/pytest -n $(TESTERS) --dist worksteal

check: $(VENV)/.test
	$(BIN)/ruff check src tests bench examples setup.py
	$(BIN)/ruff format --check src tests bench examples setup.py
	$(BIN)/mypy
	$(BIN)/python tools/options-doc --check
	$(BIN)/python examples/media/make.py check
	$(BIN)/pytest tests/test_layers.py

conformance: $(VENV)/.test
	ALLCOMERS_WHOLE=1 $(BIN)/pytest -n $(TESTERS) --dist worksteal tests/conformance.py tests/test_real_apps.py \
		tests/test_browser.py tests/test_wsgi_write.py

bench: $(VENV)/.test
	tools/bench-packages
	$(BIN)/python -m bench $(if $(QUICK),--quick) $(BENCH)

frameworks: $(VENV)/.test
	$(BIN)/python -m tests.frameworks $(if $(QUICK),--quick) $(FRAMEWORKS)

sanitized: $(VENV)/.test
	tools/sanitized $(SECONDS)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.run: $(VENV)/bin/python pyproject.toml setup.py $(wildcard src/allcomers/*/_*.p[yx][xd])
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.test: $(VENV)/.run tools/system-packages
	tools/system-packages
	$(BIN)/pip install --quiet --group test --group check
	touch $@

clean:
	rm -rf $(VENV) build dist src/*.egg-info src/allcomers/*/_*.c src/allcomers/*/*.so

.PHONY: run test check conformance bench frameworks sanitized clean
