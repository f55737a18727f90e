# Shelfwise on one machine. Every target but help and clean sets up first, which takes no time when nothing has changed.
PYTHON := .venv/bin/python
export FEAST_USAGE := False
export BENTOML_DO_NOT_TRACK := True

.DEFAULT_GOAL := help
.PHONY: help setup demo up down status logs airflow airflow-setup notebooks test test-unit lint linters docs lock clean bench-freshness bench-stream bench-redis bench-growth bench-training bench-serve bench-soak

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do \
		printf '  make %-16s %s\n' "$$name" "$$what"; done

setup: ## Python environment, packages, Java and jars; repairs itself, and is instant when nothing changed
	@sh deploy/setup.sh

demo: setup ## the whole path with a simulated shop, ending with what a customer's clicks change; leaves the stack running
	@$(PYTHON) -m deploy demo

up: setup ## start Kafka, Redis, the collector, the stream and the service; WITH=cdc: Kafka Connect with Debezium, too
	@$(if $(WITH),$(PYTHON) -m deploy.setup_jars --with $(WITH))
	@$(PYTHON) -m deploy up $(if $(WITH),--with $(WITH))

down: setup ## stop all of it
	@$(PYTHON) -m deploy down

status: setup ## what runs, where, and whether it is ready (fails unless all of it is up)
	@$(PYTHON) -m deploy status

logs: setup ## follow the logs of everything (Ctrl-C ends it)
	@$(PYTHON) -m deploy logs --follow

airflow: airflow-setup ## run the schedule with Airflow: pulls, nightly checks, retraining (docs/automation.md); Ctrl-C ends it
	@$(PYTHON) -m deploy airflow

airflow-setup: setup ## Airflow in an environment of its own, .venv-airflow; instant when nothing changed
	@$(PYTHON) -m deploy.setup_airflow

notebooks: setup ## run the notebooks for analysts, and keep what they show as HTML pages in var/notebooks
	@$(PYTHON) -m notebooks render

test: setup ## all tests, two files at a time; the integration tests start their own broker, Redis and so on, beside a running stack
	@$(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-unit: setup ## the tests that need no servers, in under a minute
	@$(PYTHON) -m pytest tests/unit

bench-freshness: setup ## event to changed recommendation, beside a plain Kafka consumer (6 minutes on an idle machine)
	@$(PYTHON) benchmarks/event_to_recommendation.py

bench-stream: setup ## events per second through the stream, beside only decoding and checking them
	@$(PYTHON) benchmarks/stream_throughput.py

bench-redis: setup ## event accepted by Kafka to features in Redis at several rates, beside a plain Kafka consumer
	@$(PYTHON) benchmarks/event_to_redis.py

bench-growth: setup ## how time, memory and storage grow with events and customers
	@$(PYTHON) benchmarks/growth.py

bench-training: setup ## how time and memory of training grow with events, beside loading them
	@$(PYTHON) benchmarks/training_growth.py

bench-serve: setup ## latency of /recommend, beside an empty BentoML endpoint
	@$(PYTHON) benchmarks/serve_latency.py

bench-soak: setup ## half an hour of /recommend with events and two swaps of models: errors, memory, p99 (40 minutes)
	@$(PYTHON) benchmarks/soak.py

lint: setup ## style, formatting and types
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

linters: setup ## those of compose.yaml, the image and the Helm chart, in var/linters, for the tests; instant when nothing changed
	@sh tests/linters/install.sh

docs: setup ## the documentation as a site in var/site; open var/site/index.html
	@NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict

lock: setup ## resolve the lock files anew, after a change to pyproject.toml, an *.in or deploy/*.ivy.xml
	@.venv/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate --all-extras \
		--python-version 3.11 pyproject.toml -o requirements.lock
	@.venv/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--python-version 3.11 deploy/airflow.in -o deploy/airflow.lock
	@.venv/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--python-version 3.11 tests/linters/requirements.in -o tests/linters/requirements.lock
	@$(PYTHON) -m deploy.setup_jars --lock

clean: ## remove the environment, caches and everything that the stack stored (stop it first with make down)
	@rm -rf .venv .venv-airflow var *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
