# `make demo` and `make test` work on a fresh machine with Python 3.11 or newer and make.
PYTHON ?= python3

.PHONY: demo test check clean

demo: .venv-demo/installed
	.venv-demo/bin/defusion demo --output demo

test: .venv/installed check
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --dist worksteal

check: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

clean:
	rm -rf .venv .venv-demo demo

.venv-demo/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[demo]"
	touch $@

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[train,evaluate,dev]"
	touch $@
