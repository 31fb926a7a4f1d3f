# The front door. `make run` and `make test` set up all that they need in .venv.
.DEFAULT_GOAL := help
.PHONY: help run models test lint compile clean

VENV := .venv
PYTHON ?= python3.11
OUT ?= out
# A folder of wheels that pip was told of is told to uv too; without one, uv picks the CPU build of torch.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
ifeq ($(UV_FIND_LINKS),)
export UV_TORCH_BACKEND ?= cpu
endif

help: ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(VENV)/installed: requirements.lock pyproject.toml
	@echo "Setting up $(VENV) (once; a few minutes on a slow line)"
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH: install Python 3.11, or name it with PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet uv==0.13.8
	@$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python -r requirements.lock
	@$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python --no-deps --editable .
	@touch $@

run: $(VENV)/installed ## Simulate, train, track and report; INPUT="PASS PASS" tracks real passes with the trained model
	@$(VENV)/bin/icegraph run $(INPUT) --out $(OUT) $(if $(MODEL),--model $(MODEL))

# Radar gains from long training. Optical loses: the longer it learns the simulation, the less it knows of real scenes.
models: $(VENV)/installed ## Train on more simulated fields and replace the shipped models
	@$(VENV)/bin/icegraph run --fields 16 --steps 500 --from-scratch --out $(OUT)/shipped/optical
	@$(VENV)/bin/icegraph run --fields 16 --steps 2000 --from-scratch --out $(OUT)/shipped/sar
	@rm -rf models && mkdir models
	@cp -r $(foreach model,optical/training/models/segmenter-optical optical/training/models/matcher sar/training/models/segmenter-sar,$(OUT)/shipped/$(model)) models/

test: $(VENV)/installed ## Run every test this machine can run
	@$(VENV)/bin/python -m pytest -n 2

lint: $(VENV)/installed ## ruff and mypy --strict
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy

compile: $(VENV)/installed ## Recompile the pipelines into pipelines/compiled
	@$(VENV)/bin/python -m pipelines

clean: ## Remove what the commands made
	rm -rf $(OUT) $(VENV)
