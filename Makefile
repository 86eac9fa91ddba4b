# make setup   a virtual environment in .venv with the pinned packages
# make demo    the main job on the embedded cars: train, distill, calibrate, score, export, predict
# make test    lint, types and the quick tests; make test-all runs every test
# make docs    the documentation as a site in build/site; fails on a broken link
# make lock    resolves requirements.lock anew from the ranges in setup.py

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
# One process a core, each with whole files, so that what a module makes is made once.
PYTEST := $(BIN)/python -m pytest -q -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder
PIP_FLAGS := --quiet --disable-pip-version-check --no-compile
# Only what is imported gets compiled, once: less than half of pip's time for all of it, and every
# command starts 4 seconds sooner even where Python is told to write no bytecode.
WARM := tensorflow, keras, tensorflow_datasets, ai_edge_litert.interpreter, matplotlib.pyplot

.PHONY: setup demo test test-all lint docs format lock golden clean

setup: $(STAMP)

# Done anew only when what is installed, or how, has changed.
$(STAMP): requirements.lock setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
	  { echo "error: Python 3.11 or 3.12 is needed; give one with make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install $(PIP_FLAGS) --require-hashes -r requirements.lock
	$(BIN)/pip install $(PIP_FLAGS) --no-deps -e .
	$(BIN)/pip check
	@env -u PYTHONDONTWRITEBYTECODE TF_CPP_MIN_LOG_LEVEL=3 \
	  $(BIN)/python -c "import $(WARM); tensorflow.lite.TFLiteConverter" 2>/dev/null
	@touch $@

demo: setup
	$(BIN)/python -m ssv_tf.demo --out=runs/demo

test: lint
	$(PYTEST) -m "not slow"

test-all: lint
	$(PYTEST)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Offline: links within the site and their anchors are checked, other hosts are not asked.
docs: setup
	CUDA_VISIBLE_DEVICES=-1 TF_CPP_MIN_LOG_LEVEL=3 NO_MKDOCS_2_WARNING=1 \
	  $(BIN)/python -m mkdocs build --strict --quiet

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# One file for Python 3.11 and 3.12; only names, versions and hashes go into it.
lock: setup
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile setup.py --extra test --extra docs --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-header --no-annotate --quiet --output-file requirements.lock

# The numbers of TensorFlow Addons, in a virtual environment of its own (BUILD_NOTES.md).
golden:
	$(PYTHON) -m venv build/tfa-venv
	build/tfa-venv/bin/pip install --quiet tensorflow==2.15.1 tensorflow-addons==0.23.0 "numpy<2"
	build/tfa-venv/bin/python tests/golden/make_tfa_golden.py tests/golden/tfa.npz

clean:
	rm -rf .venv build dist ./*.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
