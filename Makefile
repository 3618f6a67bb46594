# `make check` before every commit (about a minute); `make test` before a merge. Everything else: .ci/run.
.PHONY: check lint types fast docs test format

check: lint types fast

lint:
	ruff check .
	ruff format --check .

types:
	mypy

fast: # what needs no model
	pytest -q tests/streams tests/methods tests/metrics tests/test_files.py tests/test_floors.py --ignore tests/methods/test_on_the_tiny_model.py

docs: # the guides and the README, run as they stand
	pytest -q tests/docs

test:
	pytest -q

format:
	ruff check --fix .
	ruff format .
