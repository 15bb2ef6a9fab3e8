# lading. `make` alone lists what there is.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
ARGS ?=
IMAGE_TAG := 0.1.0-python3.12
LAYOUT := build/images

# Without bytecode every start compiles TensorFlow anew, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup data run stop test test-slow test-vertex1 test-beam base images images-docker images-assembled test-images test-containers test-cloud bench-serving lint types compile lock clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.done ## make .venv with everything that run and test need

.venv/.done: pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "lading needs Python 3.11, 3.12 or 3.13; found: $$(python3 --version 2>&1 || true)." \
		"Install one, or say where it is: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; v = "%d.%d.%d" % sys.version_info[:3]; ok = (3, 11) <= sys.version_info < (3, 14); \
		print("Python", v) if ok else sys.exit("lading needs Python >= 3.11 and < 3.14; $(PYTHON) is " + v)'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) has no venv module: on Debian, apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $@

data: setup ## see that Fashion-MNIST is there; as root on Debian, install it
	@$(BIN)/python -m lading.recipes.fashion_mnist $(DATA) || { \
		[ -z "$(DATA)" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 2; \
		echo "Installing Debian's package dataset-fashion-mnist"; \
		apt-get install -qq -y dataset-fashion-mnist >/dev/null || { apt-get update -qq && \
		apt-get install -qq -y dataset-fashion-mnist >/dev/null; }; \
		$(BIN)/python -m lading.recipes.fashion_mnist; }

run: setup data ## train, judge, package, deploy, ask and promote a model on this machine
	@$(BIN)/lading run release $(if $(DATA),--set data=$(DATA)) $(ARGS)

stop: ## end what `make run` started
	@$(BIN)/lading local stop

test: setup lint types ## everything that CI runs
	$(BIN)/python -m pytest -q -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: setup ## variants of what the default tests do
	$(BIN)/python -m pytest -q -m slow $(ARGS)

test-vertex1: setup ## the Vertex backend against google-cloud-aiplatform 1.x, in an environment of its own
	test -x .venv-vertex1/bin/python || $(PYTHON) -m venv .venv-vertex1
	.venv-vertex1/bin/python -m pip install --disable-pip-version-check -q 'google-cloud-aiplatform<2' 'google-cloud-storage' \
		'kfp>=2.17,<3' jinja2 pytest pytest-timeout pyyaml requests
	.venv-vertex1/bin/python -m pytest -q tests/backends/test_vertex_*.py tests/targets/test_vertex_target.py tests/targets/test_vertex_releases.py tests/targets/test_vertex_faults.py $(ARGS)

test-beam: setup ## batch prediction on Apache Beam, in an environment of its own
	test -x .venv-beam/bin/python || $(PYTHON) -m venv .venv-beam
	.venv-beam/bin/python -m pip install --disable-pip-version-check -q -e '.[serving,beam]' pytest pytest-timeout
	.venv-beam/bin/python -m pytest -q -m beam tests/batch/test_batch_beam*.py $(ARGS)

base: setup ## bases for machines that can pull no image, from Debian's packages (docs/images.md)
	$(BIN)/python -m containers.assembly base --to oci:$(LAYOUT):base
	$(BIN)/python -m containers.assembly base --shell --to oci:$(LAYOUT):base-shell
	@if docker info >/dev/null 2>&1; then PYTHON=$(BIN)/python containers/make_base.sh; \
	else echo "No Docker daemon answers: lading-base and lading-python are for Docker, and were not made"; fi

images: setup ## build the images with Docker; where none runs, assemble them (BASE=…, SERVING_BASE=…, DOCKER_ARGS=…)
	@if docker info >/dev/null 2>&1; then echo "Docker answers: it builds the images"; $(MAKE) --no-print-directory images-docker; \
	else echo "No Docker daemon answers: the images are assembled in $(LAYOUT)"; \
		$(MAKE) --no-print-directory images-assembled; fi

REVISION = $(shell git rev-parse HEAD 2>/dev/null)
STEPS := steps steps-train batch
ENGINES := litert tensorflow
BUILD = docker build --build-arg REVISION=$(REVISION) $(DOCKER_ARGS)
# What serving needs when it is built only, pip and a shell, may come from BASE.
SERVING_BASES = $(if $(SERVING_BASE)$(BASE),--build-arg BASE=$(or $(SERVING_BASE),$(BASE))) $(if $(BASE),--build-arg BUILD_BASE=$(BASE))

images-docker:
	for name in $(STEPS); do \
		$(BUILD) $(if $(BASE),--build-arg BASE=$(BASE)) -f containers/$$name/Dockerfile -t lading/$$name:$(IMAGE_TAG) . || exit; \
	done
	for engine in $(ENGINES); do \
		$(BUILD) $(SERVING_BASES) --build-arg ENGINE=$$engine -f containers/serving/Dockerfile \
			-t lading/serving-$$engine:$(IMAGE_TAG) . || exit; \
	done

# Bytecode is made by a Python of the base's version: this one.
SLIM = python:$(shell $(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')-slim
ASSEMBLE = $(BIN)/python -m containers.assembly
ASSEMBLED = $(if $(REVISION),--revision $(REVISION)) --to oci:$(LAYOUT)

images-assembled:
	for name in $(STEPS); do \
		$(ASSEMBLE) $$name --base $(or $(BASE),$(SLIM)) $(ASSEMBLED):$$name || exit; \
	done
	for engine in $(ENGINES); do \
		$(ASSEMBLE) serving-$$engine --base $(or $(SERVING_BASE),$(BASE),$(SLIM)) $(ASSEMBLED):serving-$$engine || exit; \
	done

test-images: setup ## the release pipeline in the step images, through kfp's DockerRunner
	$(BIN)/python -m pip install --disable-pip-version-check -q 'docker>=7'
	$(BIN)/python -m pytest -q -m images tests/containers $(ARGS)

test-containers: setup ## what needs real containers and registries; says what is missing, and never skips
	$(BIN)/python -m pytest -q -m containers $(ARGS)

test-cloud: setup ## the backends against the real services: PROJECT=… REGION=… ROOT=gs://…, or KFP=https://…
	@test -n "$(PROJECT)$(KFP)" || { echo "say where: make test-cloud PROJECT=… REGION=… ROOT=gs://… (or KFP=https://…)" >&2; exit 2; }
	PROJECT=$(PROJECT) REGION=$(REGION) ROOT=$(ROOT) KFP=$(KFP) $(BIN)/python -m pytest -q -m cloud tests/cloud $(ARGS)

bench-serving: setup ## the server beside Python's others: start, throughput, latency, memory (docs/benchmarks.md)
	$(BIN)/python -m benchmarks.serving $(ARGS)

lint: setup ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## types
	$(BIN)/mypy

compile: setup ## write the YAML of components and pipelines anew
	$(BIN)/python -m pipelines.compile

LOCK = $(BIN)/uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-header --no-annotate
PINNED := -c requirements.lock --generate-hashes
# All but beam, which needs an environment of its own.
EXTRAS := serving grpc litert train pipelines gcp batch kubernetes sign zstd cloudbuild vertex dev
# Of what google-cloud-aiplatform and google-cloud-build ask for, what the clients that lading uses never import.
NOT_RUN := annotated-types anyio distro google-cloud-bigquery google-cloud-resource-manager google-genai h11 httpcore httpx \
	pydantic pydantic-core sniffio tenacity typing-inspection websockets
# What the server imports, itself and gRPC included: not what these ask for besides (keras, tqdm, …), which it never loads.
SERVED := grpcio httptools numpy orjson protobuf pysimdjson typing-extensions

lock: setup ## resolve requirements.lock anew (no host names, no addresses)
	$(BIN)/python -m pip install -q uv
	$(LOCK) $(EXTRAS:%=--extra %) -o requirements.lock pyproject.toml
	$(LOCK) $(PINNED) $(NOT_RUN:%=--no-emit-package %) --extra gcp --extra sign --extra zstd --extra cloudbuild --extra kubernetes \
		--extra vertex -o containers/steps/requirements.lock pyproject.toml
	$(LOCK) $(PINNED) --extra gcp --extra train --extra serving --extra litert \
		-o containers/steps-train/requirements.lock pyproject.toml
	printf '%s\n' $(SERVED) ai-edge-litert | $(LOCK) $(PINNED) --no-deps -o containers/serving/requirements-litert.lock -
	printf '%s\n' $(SERVED) tensorflow-cpu | $(LOCK) $(PINNED) --no-deps -o containers/serving/requirements-tensorflow.lock -
	{ $(LOCK) $(PINNED) $(SERVED:%=--no-emit-package %) --extra gcp --extra batch pyproject.toml && \
		printf '%s\n' $(filter-out grpcio,$(SERVED)) ai-edge-litert tensorflow-cpu | $(LOCK) $(PINNED) --no-deps -; } \
		> containers/batch/requirements.lock
	echo kfp | $(LOCK) $(PINNED) --no-deps -o containers/kfp.lock -
	echo hatchling | $(LOCK) $(PINNED) -o containers/build.lock -

clean: ## remove .venv and caches
	rm -rf .venv .venv-beam .venv-vertex1 .mypy_cache .ruff_cache .pytest_cache build dist
