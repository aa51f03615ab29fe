# `make demo` sets up and runs the main job; `make test` sets up and passes the tests. Nothing else is needed before them.
PYTHON ?= python3
STAY ?= 1
SERIES ?=
BIN := .venv/bin
STAMP := .venv/.set-up

.PHONY: demo test lint types unit setup docs clean

demo: $(STAMP)
	@$(BIN)/dermanode demo $(if $(filter 0,$(STAY)),--no-stay,) $(if $(SERIES),--series "$(SERIES)",)

test: lint types unit

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy dermanode $(filter-out %.egg-info,$(wildcard plugins/dermanode_*))

unit: $(STAMP)
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(PYTEST)

docs: $(STAMP)
	$(BIN)/python docs/make_configuration.py > docs/configuration.md
	$(BIN)/python docs/make_storage_classes.py > docs/storage-classes.md

setup: $(STAMP)

$(STAMP): pyproject.toml plugins/pyproject.toml .ci/set-up
	@sh .ci/set-up "$(PYTHON)"
	@touch $@

clean:
	rm -rf .venv var build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
