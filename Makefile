# Needs python3 (3.11 or newer) and make; the local Elasticsearch also needs Java 21+ and mvn.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PATIENTLY := $(PYTHON) tools/patiently.py

.DEFAULT_GOAL := help
.PHONY: help weights demo picture test test-tutorials test-unit test-rabbitmq check lint types imports docs reference caffe test-caffe test-models test-robustness test-browser test-review test-compat test-clients test-engines test-frameworks test-pages fuzz fuzz-suggestions bench bench-ranker bench-score bench-worker clean

help:  ## Show these targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

weights: $(READY)  ## Bring the weights of the built-in model into the cache folder (once).
	@$(PATIENTLY) "weights" $(BIN)/saferank model fetch open_nsfw

demo: weights  ## Score real pictures and search them at three safe-search levels.
	$(BIN)/saferank demo

test: weights  ## Run all tests, on a real Elasticsearch node and broker.
	$(BIN)/pytest

test-unit: weights  ## Run the tests that need no service.
	$(BIN)/pytest -m "not integration"

test-rabbitmq: weights  ## Run the tests of workers with RabbitMQ (Debian: rabbitmq-server) as the broker.
	$(BIN)/python tests/faults/on_rabbitmq.py

check: lint types imports docs test  ## Run everything that must pass before a change is merged.

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy
	$(BIN)/mypy --strict docs/conf.py tools
	$(BIN)/python tools/page_samples.py build/page_samples
	$(BIN)/mypy --strict --ignore-missing-imports --allow-subclassing-any --allow-untyped-calls build/page_samples
	$(BIN)/mypy --strict examples tests/typing/front_door.py
	$(BIN)/mypy --config-file tests/typing/scripts.ini
	$(BIN)/basedpyright

imports: $(READY)  ## Check the layers, and print the floors of the rooms.
	$(BIN)/lint-imports
	$(BIN)/python tools/import_floors.py

docs: $(READY)  ## Build the documentation as a site in build/docs.
	$(BIN)/python tools/reference_pages.py --check
	$(BIN)/sphinx-build --fail-on-warning --keep-going --fresh-env --quiet docs build/docs
	@echo "Open build/docs/index.html."

reference: $(READY)  ## Write again what docs/reference/ takes from the code.
	$(BIN)/python tools/reference_pages.py

caffe: $(READY)  ## Build real Caffe in the cache folder (once) and name its folder.
	@deploy/build_caffe.sh $(BIN)/python

test-caffe: weights  ## Compare the converted nets with real Caffe, side by side.
	@caffe=$$(deploy/build_caffe.sh $(BIN)/python) && \
	PYTHONPATH=tests/support:$$caffe $(BIN)/python tests/models/compare_caffe.py $(COMPARE)

test-models: weights  ## Compare scores with those of the packages that carry the models.
	$(BIN)/python tests/models/compare_packages.py

test-robustness: weights  ## Decode all of Pillow's test images, and damaged files for a quarter of an hour.
	$(BIN)/pytest -s tests/robustness/check_pillow_images.py
	$(BIN)/python tests/robustness/fuzz_decode.py

test-browser: weights  ## Compare other people's pictures with Chromium (Debian: chromium; npm).
	$(BIN)/python tests/browser/compare.py $(BROWSER)

test-review: weights  ## Review documents in Chromium (Debian: chromium; npm), server killed and all.
	$(BIN)/python -m pip install -qq --group browser
	npm install --silent --no-save --prefix build/axe axe-core
	PYTHONPATH=tests/support $(BIN)/python tests/browser/review.py --axe build/axe/node_modules/axe-core/axe.min.js $(REVIEW)

test-tutorials: weights  ## Do what the tutorials say, line by line, and compare what is printed (TUTORIALS=PAGE).
	@for page in $(or $(TUTORIALS),docs/tutorial.md docs/tutorial-training.md); do \
	    PYTHONPATH=tools $(BIN)/python tests/tutorials/run.py $$page || exit 1; done

picture: weights  ## Look at the demo's page in Chromium (Debian: chromium; npm), and take the README's picture.
	$(BIN)/python -m pip install -qq --group browser
	npm install --silent --no-save --prefix build/axe axe-core
	$(BIN)/saferank demo --page build/demo.html
	PYTHONPATH=tests/support $(BIN)/python tests/browser/demo.py build/demo.html --axe build/axe/node_modules/axe-core/axe.min.js --picture

test-compat: $(READY)  ## Send public REST tests through safe clients (ELASTICSEARCH_PY=CHECKOUT, ELASTICSEARCH=CHECKOUT: theirs, too).
	PYTHONPATH=tests/support $(BIN)/python tests/compat/run.py $(if $(ELASTICSEARCH_PY),--elasticsearch-py $(ELASTICSEARCH_PY)) $(if $(ELASTICSEARCH),--elasticsearch $(ELASTICSEARCH)) $(COMPAT)

test-engines: $(READY)  ## Run the same tests on Elasticsearch 9 and 8 and OpenSearch 3 and 2 (ENGINES="opensearch-3" SUITES="client").
	$(BIN)/python tests/engines/run.py $(ENGINES) $(if $(SUITES),--suites $(SUITES))

test-clients: $(READY)  ## Search through the gateway with other people's clients (npm, go, mvn, ruby; CLIENTS="go curl").
	$(BIN)/python tests/clients/run.py $(CLIENTS)

test-pages: $(READY)  ## Scroll, change the level and look at blurred pictures in Chromium (Debian: chromium).
	$(BIN)/python -m pip install -qq --group browser
	PYTHONPATH=tests/support $(BIN)/python tests/browser/photos_page.py $(PAGES)

test-frameworks:  ## Run the examples with Django, langchain, llama-index and haystack on elasticsearch-py 8.
	$(PYTHON) -m venv build/frameworks
	build/frameworks/bin/python -m pip install -q --disable-pip-version-check --upgrade "pip>=25.1"
	build/frameworks/bin/python -m pip install -qq --editable ".[indexer,async,local]" --group frameworks
	build/frameworks/bin/mypy --strict examples/retrieval/*.py
	build/frameworks/bin/basedpyright --pythonpath build/frameworks/bin/python examples/retrieval/*.py
	build/frameworks/bin/pytest tests/frameworks/check_retrieval.py tests/integration/test_django_example.py
	build/frameworks/bin/pytest tests/frameworks/check_elasticsearch_django.py

fuzz: SEED ?= $(shell date +%s)
fuzz: BODIES ?= 2000
fuzz: $(READY)  ## Send 2,000 random requests to a real node at every level (SEED=N repeats a run; BODIES=250).
	SAFERANK_FUZZ_BODIES=$(BODIES) $(BIN)/pytest tests/integration/test_fuzz_requests.py \
	--hypothesis-show-statistics --hypothesis-seed=$(SEED)

fuzz-suggestions: SEED ?= $(shell date +%s)
fuzz-suggestions: PREFIXES ?= 10000
fuzz-suggestions: $(READY)  ## Suggest words for 10,000 random beginnings at every level (SEED=N; PREFIXES=1000).
	SAFERANK_SUGGESTED_PREFIXES=$(PREFIXES) SAFERANK_SUGGESTED_SEED=$(SEED) $(BIN)/pytest -o timeout=0 tests/integration/test_suggested_words.py

bench: weights  ## Run the benchmarks; each prints a table.
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

bench-ranker: weights  ## Measure every way of searching safely on a million documents (stack up first).
	$(BIN)/python benchmarks/bench_ranker.py $(BENCH)

bench-score: weights  ## Measure scoring in every mode beside other packages (BENCH="--cores one").
	$(BIN)/python benchmarks/bench_score.py $(BENCH)

bench-worker: weights  ## Measure a real worker end to end beside another package (BENCH="--sets web").
	$(BIN)/python benchmarks/bench_worker.py $(BENCH)

clean:  ## Remove the virtual environment, caches and builds.
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(READY): pyproject.toml
	@echo "Setting up $(VENV): 3 GB, some minutes the first time."
	@$(PATIENTLY) "an environment" $(PYTHON) -m venv $(VENV)
	@$(PATIENTLY) "pip" $(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(PATIENTLY) "packages" $(BIN)/python -m pip install -qq --editable ".[all]" --group dev --group docs --group web
	@touch $@
