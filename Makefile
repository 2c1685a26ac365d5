# Needs only Python 3.11 or later, make and a package index.
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Tests start many interpreters, and pytest rewrites every test module: both are slow where images forbid compiled files.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test quick lint types unit bench bench-full docs wheel-check format clean

demo: $(READY)  ## build, verify and report a dataset from real clips; train and evaluate a tiny model on it
	$(BIN)/mlst build manifests/demo/recipe.toml --out out/demo --workers $(WORKERS)
	$(BIN)/astm train astm --data mlst --preset tiny --out out/demo-astm data.root=out/demo
	$(BIN)/astm evaluate out/demo-astm copy_last --out out/demo-results --metrics mse_sum,psnr_frame,ssim_wang

test: lint types unit  ## what CI runs

quick: lint types  ## the fast tests: for every change
	$(BIN)/pytest -n $(WORKERS) -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

unit: $(READY)
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup

bench: $(READY)  ## every claim about speed and memory, small: four minutes of two free cores
	$(BIN)/python -m benchmarks.suite quick

bench-full: $(READY)  ## the same at the sizes of docs/performance.md: an hour
	$(BIN)/python -m benchmarks.suite full

docs: $(VENV)/.docs  ## the documentation, as a site in out/site; fails on a broken link
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python docs/tools/check.py out/site

$(VENV)/.docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[docs]"
	touch $@

WHEEL := out/wheel

wheel-check: $(READY)  ## install the wheel where nothing else is, and build the demo with the sdist's manifests
	rm -rf $(WHEEL)
	$(BIN)/python -m build --outdir $(WHEEL) .
	tar -xf $(WHEEL)/mlst-*.tar.gz -C $(WHEEL) --one-top-level=source --strip-components=1
	$(PYTHON) -m venv $(WHEEL)/venv
	$(WHEEL)/venv/bin/pip install --quiet --constraint constraints.txt "$$(ls $(WHEEL)/mlst-*.whl)[build]"
	cd $(WHEEL) && venv/bin/mlst build source/manifests/demo/recipe.toml --out demo --workers 1
	cd $(WHEEL) && venv/bin/mlst verify demo
	cd $(WHEEL) && venv/bin/python -c "import mlst; print(mlst.load('demo', split='train', past=10, horizon=10)[0])"

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf out build *.egg-info

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or later is needed; set PYTHON=..."'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@
