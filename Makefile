# Two commands: `make demo` shows a verified recovery, `make test` checks everything.
# Both make the environment first and need python3.11 with venv and pip, nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Without bytecode each process of opx compiles itself anew: four seconds of a start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint types laws unit lock clean
demo: $(READY)
	$(BIN)/opx demo --once

test: lint types laws unit

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

laws: $(READY)
	$(BIN)/lint-imports

# Three at a time on two cores: one of them waits for the demo, which comes first.
unit: $(READY)
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --extra dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV)
