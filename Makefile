# Two commands are enough: `make run` serves the example site, `make test` runs every test, one of all models under the
# four that differ most and one more in turn. `make check` adds lint, types and the layer test; `make conformance` runs
# all models, the whole product of them × TLS × calls × workers, and real apps and a real browser on all of them;
# `make test-older` runs one form of each test of the server on the older Pythons that are here, ALL=1 all of them,
# OLDEST=1 on the oldest alone; `make test-plain` all of them in plain Python, ONCE=1 one form of each; `make bench`
# compares with every other server, `make bench QUICK=1` in three minutes; `make frameworks` runs the suites of
# Starlette, uvicorn, httpx, requests and Flask against this server, QUICK=1 the part that CI runs; `make sanitized`
# tests the compiled parts under AddressSanitizer; `make chaos` does to each model what peers, disks and operators may
# do, in ten minutes or SECONDS=, by a SEED= that it prints.

PYTHON ?= $(shell tools/pythons | head -n 1)
VENV := .venv
BIN := $(VENV)/bin
TESTERS := 4 # processes that run tests: most tests wait for a server, so more than there are cores
PYTEST := pytest -n $(TESTERS) --dist worksteal

unexport PYTHONDONTWRITEBYTECODE # each of some thousand processes would compile all of it again

run: $(VENV)/.run
	$(BIN)/allcomers serve examples/site

test: $(VENV)/.test
	$(BIN)/$(PYTEST) --in-turn

# What may differ by Python's version or by build is the server: tests/conftest.py has what --server leaves out.
test-server: $(VENV)/.test
	$(BIN)/$(PYTEST) --server $(if $(ONCE),--once)

test-plain: $(VENV)/.test
	ALLCOMERS_PURE=1 $(BIN)/$(PYTEST) --server $(if $(ONCE),--once)

test-older:
	@older=$$(tools/pythons | tail -n +2 $(if $(OLDEST),| tail -n 1)); \
	[ -n "$$older" ] || echo "make test-older: $(PYTHON) is the only Python here, so no older one is tested"; \
	for python in $$older; do \
		name=$$($$python -c 'import sys; print("python{}.{}".format(*sys.version_info))') && \
		$(MAKE) --no-print-directory test-server PYTHON=$$python VENV=.venv/$$name ONCE=$(if $(ALL),,1) || exit 1; \
	done

check: $(VENV)/.test
	$(BIN)/ruff check src tests bench examples setup.py
	$(BIN)/ruff format --check src tests bench examples setup.py
	$(BIN)/mypy
	$(BIN)/python tools/options-doc --check
	$(BIN)/python tools/man-page --check
	$(BIN)/python examples/media/make.py check
	$(BIN)/pytest tests/test_layers.py

conformance: $(VENV)/.test
	ALLCOMERS_WHOLE=1 $(BIN)/$(PYTEST) tests/apps/test_real_apps.py \
		tests/models tests/apps/wsgi/test_served.py tests/apps/wsgi/test_stream_threads.py tests/apps/asgi/test_asgi.py \
		tests/test_browser.py tests/apps/wsgi/test_wsgi_write.py tests/apps/asgi/test_asgi_states.py tests/apps/asgi/test_disconnect.py \
		tests/apps/asgi/test_asgi_frameworks.py tests/apps/asgi/test_signal_handlers.py \
		tests/calls/overload tests/server/test_taken_signals.py tests/server/test_request_limits.py \
		tests/server/test_balancer.py tests/server/test_left_over.py tests/protocol/http2/test_http2_fuzz.py
	tools/fuzz 60

bench: $(VENV)/.test
	tools/bench-packages
	$(BIN)/python -m bench $(if $(QUICK),--quick) $(BENCH)

frameworks: $(VENV)/.test
	$(BIN)/python -m tests.frameworks $(if $(QUICK),--quick) $(FRAMEWORKS)

sanitized: $(VENV)/.test
	tools/sanitized $(SECONDS)

chaos: $(VENV)/.test
	PYTHONPATH=tests:. $(BIN)/python -m chaos $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(CHAOS)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.run: $(VENV)/bin/python pyproject.toml setup.py $(shell find src -name '_*.p[yx][xd]')
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.test: $(VENV)/.run tools/system-packages
	tools/system-packages
	$(BIN)/pip install --quiet --group test $(if $(filter .venv,$(VENV)),--group check,--no-compile)
	touch $@

clean:
	rm -rf $(VENV) build dist src/*.egg-info
	find src -name '_*.c' -delete -o -name '_*.so' -delete

.PHONY: run test test-server test-plain test-older check conformance bench frameworks sanitized chaos clean
