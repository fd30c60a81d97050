# Two commands do all: `make reproduce` and `make test`. Both make .venv first if need be.
SHELL := /bin/bash -o pipefail
PYTHON ?= python3.11
PRESET ?= workshop
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# A CPU build of torch: give the address of an index that serves it, for example the CPU one named on pytorch.org.
ifneq ($(strip $(TORCH_INDEX)),)
TORCH_FROM := --index-url $(TORCH_INDEX)
endif

RUNNER_OPTIONS := --preset $(PRESET) $(if $(TRAIN),--train $(TRAIN)) $(if $(TEST),--test $(TEST)) \
	$(foreach pair,$(SET),--set $(pair))

.PHONY: help reproduce test lint lab report cudf-check clean
help:
	@echo "make reproduce [PRESET=workshop|tiny|criteo-sample] [TRAIN='F ...'] [TEST='F ...'] [SET='seed=2 ...']"
	@echo "make test [REQUIRE_ALL=1]     make lint     make lab     make report     make cudf-check     make clean"
	@echo "TORCH_INDEX=...  take torch from this index (a CPU build)     PYTHON=...  the Python 3.11 to use"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else f"Python 3.11 is needed, {v} came; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)" $(TORCH_FROM)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# What cannot share .venv: cudf-polars (3 GB), to check the GPU's queries without a GPU and to run them with one.
$(VENV)-cudf/.installed: constraints/cudf.txt
	test -x $(VENV)-cudf/bin/python || $(PYTHON) -m venv $(VENV)-cudf
	$(VENV)-cudf/bin/python -m pip install --quiet --requirement constraints/cudf.txt
	touch $@

# What `dlrm bench` measures ours against. torch first, so that TORCH_INDEX can give a CPU build.
$(VENV)-peers/.installed: constraints/peers.txt
	test -x $(VENV)-peers/bin/python || $(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet "$$(grep '^torch==' constraints/peers.txt)" $(TORCH_FROM)
	$(VENV)-peers/bin/python -m pip install --quiet --no-deps --requirement constraints/peers.txt
	touch $@

cudf-check: $(VENV)-cudf/.installed
	$(VENV)-cudf/bin/python -m data_prep.engines.cudf_check

reproduce: $(STAMP)
	$(BIN)/python -m notebooks.runner $(RUNNER_OPTIONS)

test: $(STAMP)
	DLRM_REQUIRE_ALL=$(REQUIRE_ALL) $(BIN)/python -m pytest $(PYTEST_OPTIONS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lab: $(STAMP)
	$(BIN)/jupyter lab --notebook-dir=notebooks

report: $(STAMP)
	$(BIN)/python -m notebooks.redraw --runs runs/$(PRESET) --html reports/build/index.html

clean:
	rm -rf runs reports/build .pytest_cache .ruff_cache .mypy_cache
