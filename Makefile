# make study   the main job on the embedded data, ends with a report
# make test    all tests but the slow ones
# make check   CI: lint, types, layers, docs, tests, collection of the slow tests
# make docs    the documentation as a site in site/; fails on a broken internal link
# make wheel   the built wheel in a fresh environment, with a toy study
# make report  rebuild the report of STUDY from its folder
# make slow    the tests of minutes, one at a time
# make lock    resolve the packages anew

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STUDY ?= runs/refool-fashion-c
UV_VERSION := 0.13.9
READY := $(VENV)/.ready

.PHONY: study test check lint types layers docs slow-plan wheel report slow lock

study: $(READY)
	$(BIN)/python -m study.run --attack refool --victim-epochs 10 --clean-fractions 0.05 --trials 30 --time-budget 150s --confirm 3

test: $(READY)
	$(BIN)/python -m pytest

check: lint types layers docs slow-plan test

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

# Without --quiet, or --strict would see no warning. The theme's end-of-life notice is known.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "external links, not fetched:"
	@grep -ohE "https?://[^] )>\"\`]+" docs/*.md | sort -u

# CI only checks that the slow tests collect and find their fixtures.
slow-plan: $(READY)
	$(BIN)/python -m pytest -n 0 -m slow --setup-plan

wheel: $(READY)
	.ci/wheel $(BIN)

report: $(READY)
	$(BIN)/nad-study report $(STUDY)

# Each has a whole machine's processes and ports: two at a time would share a busy machine, and miss their deadlines.
slow: $(READY)
	$(BIN)/python -m pytest -n 0 -m slow

lock: $(READY)
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--no-header --no-emit-index-url --quiet --output-file requirements.lock

# uv installs several packages at a time; without it, pip follows this machine's pip settings (mirrors).
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "uv==$(UV_VERSION)"
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --requirement requirements.lock \
		|| $(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $(READY)
