# `make demo` and `make test` work on a fresh machine with Python 3.11 or newer and make.
PYTHON ?= python3

# A new environment, if the Python is new enough for it.
VENV = $(PYTHON) -c "import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
	f'defusion needs Python 3.11 or newer, {sys.executable} is {v[0]}.{v[1]}: name another, make PYTHON=...')" \
	&& $(PYTHON) -m venv --clear

.PHONY: demo test test-full check fuzz docs dist clean

demo: .venv-demo/installed
	.venv-demo/bin/defusion demo --output demo

test: .venv/installed check
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n auto --dist worksteal

# Browser (Chromium has to be installed), contract and load tests of the service.
test-full: .venv/installed-full
	.venv/bin/python -m pytest -m full

check: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/mypy tests/api/types_of_api.py
	.venv/bin/python docs/_style.py

# Damaged files in numbers: make fuzz N=12000 SEED=1
N ?= 12000
SEED ?= 1
fuzz: .venv/installed
	DEFUSION_FUZZ=$(N) DEFUSION_FUZZ_SEED=$(SEED) .venv/bin/python -m pytest tests/imaging/test_fuzz.py

# The site of docs/, in build/site, and man pages, in build/man. Warnings are errors.
docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet
	COLUMNS=300 .venv/bin/python docs/_man.py build/man

# Packages in dist/, the same bytes for the same sources; the wheel fuses in an environment that has nothing else.
dist: .venv/installed-docs
	rm -rf dist build/empty
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) .venv/bin/python -m build --outdir dist
	.venv/bin/twine check --strict dist/*
	$(PYTHON) -m venv build/empty
	build/empty/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
	cd build/empty && bin/python -c "from PIL import Image; \
		[Image.effect_noise((64, 48), size).save(f'{size}.png') for size in (20, 90)]"
	cd build/empty && bin/defusion fuse 20.png 90.png -o fused.tif --align off && bin/defusion doctor

clean:
	rm -rf .venv .venv-demo demo build dist

.venv-demo/installed: pyproject.toml constraints.txt
	$(VENV) .venv-demo
	.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[demo]"
	touch $@

.venv/installed: pyproject.toml constraints.txt
	$(VENV) .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[train,evaluate,serve,dev]"
	touch $@

.venv/installed-docs: .venv/installed
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

.venv/installed-full: .venv/installed
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev-full]"
	touch $@
