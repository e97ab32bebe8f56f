# make demo, make test: each sets up what it needs. A Python 3.11 or newer and pip are enough; uv is used where it is installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
WORKERS ?= 2
STACK ?= stack

.PHONY: help demo deploy stack stack-down stack-status test test-all kills bench gpu-check check format constraints clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

demo: $(VENV)/.installed  ## the main job on 1,797 handwritten digits, into ./demo
	@$(BIN)/python -m flows.demo demo

stack: $(VENV)/.installed-stack  ## PostgreSQL, Prefect, Dask and an S3 store as processes of this machine; STACK=dir WORKERS=2
	@STACK="$(STACK)" WORKERS="$(WORKERS)" infra/stack.sh up

stack-down:  ## end the stack; nothing of it is left
	@STACK="$(STACK)" infra/stack.sh down

stack-status:  ## each service of the stack: its process, memory and health
	@STACK="$(STACK)" infra/stack.sh status

deploy: $(VENV)/.installed  ## pool, deployments and alerts on the Prefect server at PREFECT_API_URL; twice changes nothing
	@$(BIN)/python -m infra.deploy

test: $(VENV)/.installed-dev  ## the test suite without the slow tests
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow" $(ARGS)

test-all: $(VENV)/.installed-dev  ## the whole test suite
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

bench: $(VENV)/.installed-dev  ## ways from images to features, side by side; BENCH="--images DIR --json FILE --orchestration"
	@$(BIN)/python -m tests.benchmarks $(BENCH)

kills: $(VENV)/.installed-dev  ## kill -9 of driver, workers and scheduler in every stage, and the table; KILLS="--seed 4 --rounds 2"
	@$(BIN)/python -m tests.kills $(KILLS)

gpu-check: $(VENV)/.installed-dev  ## on a machine with an NVIDIA GPU: proves the CUDA path; elsewhere says so and exits 2; GPU="--images 5000"
	@$(BIN)/python -m tests.gpu_check $(GPU)

check: $(VENV)/.installed-dev  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev  ## format and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints: $(VENV)/.installed-dev  ## pin what is installed now
	$(BIN)/python -m pip freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==' | LC_ALL=C sort -f > constraints.txt

clean:  ## remove the environment and the demo
	rm -rf $(VENV) demo

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("trunkline needs Python 3.11 or newer, and this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing trunkline and what it needs into $(VENV) (about 3 GB, a minute or two) ..."
	$(call install,.[pipeline$(comma)prefect])
	@touch $@

$(VENV)/.installed-stack: $(VENV)/.installed
	$(call install,.[pipeline$(comma)prefect$(comma)s3$(comma)stack])
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(call install,.[pipeline$(comma)prefect$(comma)onnx$(comma)s3$(comma)kubernetes$(comma)dev])
	@touch $@

comma := ,
ifeq ($(UV),)
install = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '$(1)'
else
install = $(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '$(1)'
endif
