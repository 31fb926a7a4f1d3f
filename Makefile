# The front door. `make run` and `make test` set up all that they need in .venv.
.DEFAULT_GOAL := help
.PHONY: help run models images test lint check audit lock compile s3 s3-down cluster submit predict cluster-down clean

VENV := .venv
PYTHON ?= python3.11
OUT ?= out
# A folder of wheels that pip was told of is told to uv too; without one, uv picks the CPU build of torch.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
ifeq ($(UV_FIND_LINKS),)
export UV_TORCH_BACKEND ?= cpu
endif

help: ## Show this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

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

# Optical and matcher from floes drawn by hand, whose imagery NASA has; radar from simulated fields.
# IMAGERY: a folder that has the imagery already; else it is fetched from NASA GIBS.
imagery = $(or $(IMAGERY),$(OUT)/imagery)
models: $(VENV)/installed ## Train the shipped models anew, in about twenty minutes
	$(if $(IMAGERY),,@$(VENV)/bin/icegraph fetch data/floes/imagery.json --out $(imagery))
	@$(VENV)/bin/icegraph train $(imagery) --truth data/floes --steps 800 --out $(OUT)/shipped/segmenter-optical
	@$(VENV)/bin/icegraph train $(imagery) --truth data/floes --network matcher --steps 400 --out $(OUT)/shipped/matcher
	@for k in $$(seq 0 19); do set -- pack marginal brash mixed; shift $$((k % 4)); \
	  $(VENV)/bin/icegraph simulate --view sar --view amsr2 --size-km 14 --passes 1 --seed $$((1000 + k)) --regime $$1 \
	  --out $(OUT)/radar/$$k || exit 1; done
	@$(VENV)/bin/icegraph train $(OUT)/radar --truth $(OUT)/radar --pretrain-steps 100 --steps 1500 --hold-out --out $(OUT)/shipped/segmenter-sar
	@rm -rf models && mkdir models
	@cp -r $(foreach model,segmenter-optical segmenter-sar matcher,$(OUT)/shipped/$(model)) models/

# A module's tests stay with one worker: they share what takes long to make.
test: $(VENV)/installed ## Run every test this machine can run
	@$(VENV)/bin/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

lint: $(VENV)/installed ## ruff and mypy --strict
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy

# checkov's dependencies clash with ours: the checkers have an environment of their own.
$(VENV)-check/installed: requirements-check.lock $(VENV)/installed
	@echo "Setting up $(VENV)-check (once)"
	@$(VENV)/bin/uv venv --quiet --clear --python $(VENV)/bin/python $(VENV)-check
	@$(VENV)/bin/uv pip install --quiet --python $(VENV)-check/bin/python -r requirements-check.lock
	@touch $@

check: $(VENV)-check/installed ## Check workflows, Dockerfiles and rendered manifests, and look for secrets
	@PATH="$(CURDIR)/$(VENV)-check/bin:$$PATH" OUT=$(OUT)/check .ci/check

audit: $(VENV)-check/installed ## Look up known vulnerabilities of what requirements.lock names (needs the Internet)
	@mkdir -p $(OUT) && sed -n 's/^\([^ ]*==[^ ]*\).*/\1/p' requirements.lock >$(OUT)/named.txt
	@$(VENV)-check/bin/pip-audit --progress-spinner off --disable-pip --no-deps --requirement $(OUT)/named.txt

# torch alone has no SHA-256 there: its builds for CPUs and for CUDA are of one version.
lock: $(VENV)/installed ## Pin what pyproject.toml asks for, each package by its version and the SHA-256 of its files
	@$(VENV)/bin/uv pip compile --quiet --no-header --no-annotate --all-extras --generate-hashes --upgrade-package torch \
	  --python $(VENV)/bin/python --output-file requirements.lock pyproject.toml
	@awk '/^torch==/ {sub(/\+.*| .*/, ""); print; skip = 1; next} /^[^ ]/ {skip = 0} !skip' requirements.lock >requirements.new
	@mv requirements.new requirements.lock
	@$(VENV)/bin/uv pip compile --quiet --no-header --no-annotate --no-deps --generate-hashes \
	  --python $(VENV)/bin/python --output-file requirements-check.lock requirements-check.lock

compile: $(VENV)/installed ## Recompile the pipelines into pipelines/compiled
	@$(VENV)/bin/python -m pipelines

# Arguments of an image: see images/Dockerfile. TORCH=cpu gives a train image for machines without a GPU.
IMAGES ?= ghcr.io/icegraph
TAG ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
TORCH ?= cu130
base_name := python:3.11-slim-bookworm
BASE ?= $(shell docker image inspect $(base_name) >/dev/null 2>&1 && echo $(base_name) || grep -v '^\#' images/base.lock)
image = @docker build --file images/Dockerfile --tag $(IMAGES)/icegraph-$(1):$(TAG) $(2) --build-arg BASE=$(BASE) --build-arg VERSION=$(TAG) \
	--build-arg COMMIT=$$(git describe --always --dirty=+dirty --abbrev=12) --build-arg CREATED=$$(git log -1 --format=%cI) .

images: ## Build the images pipeline, train and serve, with Docker
	@command -v docker >/dev/null || { echo "Docker is not on the PATH: install it" >&2; exit 1; }
	$(call image,pipeline,--target stages --build-arg EXTRA=stages --build-arg TORCH=cpu)
	$(call image,train,--target stages --build-arg EXTRA=stages --build-arg TORCH=$(TORCH))
	$(call image,serve,--target serve)
	@docker images --filter reference='$(IMAGES)/icegraph-*:$(TAG)'

# MinIO's last public image. Each start has a new password, which is in $(OUT)/s3.env and is printed nowhere.
s3: ## Start an S3 server (MinIO, in Docker) on port 9000, for tests and trials
	@command -v docker >/dev/null || { echo "Docker is not on the PATH: install it, or set AWS_ENDPOINT_URL to a server that you have" >&2; exit 1; }
	@mkdir -p $(OUT) && umask 077 && secret=$$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n') && \
	printf 'export AWS_ACCESS_KEY_ID=icegraph AWS_SECRET_ACCESS_KEY=%s AWS_ENDPOINT_URL=%s ICEGRAPH_TEST_S3_ENDPOINT=%s\n' \
	  $$secret http://127.0.0.1:9000 http://127.0.0.1:9000 >$(OUT)/s3.env && \
	MINIO_ROOT_USER=icegraph MINIO_ROOT_PASSWORD=$$secret docker run --detach --rm --name icegraph-s3 --publish 127.0.0.1:9000:9000 \
	  --env MINIO_ROOT_USER --env MINIO_ROOT_PASSWORD quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z server /data >/dev/null
	@echo "It listens on http://127.0.0.1:9000. To use it: source $(OUT)/s3.env"

s3-down: ## Stop that server; what it held is gone
	@docker stop icegraph-s3 >/dev/null && rm -f $(OUT)/s3.env

# What each does, and what to do when it fails, is said as it goes: manifests/cluster.py.
CLUSTER ?= kind
export CLUSTER OUT

cluster: $(VENV)/installed ## Start a cluster on this machine with all of IceGraph in it; CLUSTER=minikube too
	@$(VENV)/bin/python manifests/cluster.py up

submit: $(VENV)/installed ## Train on that cluster, on passes simulated here
	@$(VENV)/bin/python manifests/cluster.py submit

predict: $(VENV)/installed ## Ask that cluster for the floes of two passes, and their tracks
	@$(VENV)/bin/python manifests/cluster.py predict

cluster-down: $(VENV)/installed ## Remove that cluster and all that it holds
	@$(VENV)/bin/python manifests/cluster.py down

clean: ## Remove what the commands made
	rm -rf $(OUT) $(VENV) $(VENV)-check
