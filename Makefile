# Each target sets itself up: nothing but Python 3.11 or newer and make is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := pyproject.toml constraints.txt
PIP := --quiet --disable-pip-version-check --no-compile
# Modules are compiled when they are first imported, a quarter of all; that must be allowed, or every process does it.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-all learn torture bench figures docs course release-check clean

# CartPole learnt on four seeds, then filmed.
demo: $(VENV)/ready
	$(BIN)/polyak train ppo CartPole-v1 --seeds 4 --out runs/demo
	$(BIN)/polyak watch "$$(ls -td runs/demo/*/ | head -n 1)"
	@echo "(first, so that this shell finds polyak: source $(BIN)/activate)"

# What one runs before every commit: format, lint, types, and a test of everything that would catch a real mistake; seven
# minutes on two cores. Types are checked beside the first tests.
test: $(VENV)/ready-to-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy & types=$$!; $(BIN)/python -m pytest -m "not slow" && wait $$types

# The tests that `make test` leaves out: every combination, long resumes, faults, and the commands of the README and
# the guides; the documentation is built by both builders.
test-all: $(VENV)/ready-to-test
	$(BIN)/python -m pytest -m slow

# Every preset again on the seeds of its evidence; fails where an interval falls below its threshold. Hours.
learn: $(VENV)/ready-to-test
	$(BIN)/python -m pytest -o addopts= -v tests/learning

# Kills, hostile files, and environments that break, by the hundred; a quarter of an hour on two cores.
torture: $(VENV)/ready-to-test
	$(BIN)/python -m pytest -o addopts= -n auto --dist loadfile -v -rP tests/torture

# Speed beside Stable-Baselines3, SBX and rejax, in an environment of its own.
bench: $(VENV)/ready
	$(BIN)/python -m benchmarks.speed

# Figures of Sutton and Barto's book, drawn into docs/figures; about a minute.
figures: $(VENV)/ready
	$(BIN)/python -m benchmarks.figures

# The documentation, into `site/`, which `python -m http.server -d site` shows. Half of the time goes into asking
# algorithms what they measure. Chapters of the course have no outputs where `make course` has not run them.
docs: $(VENV)/ready-for-docs
	$(BIN)/python -m pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -f site.yml

# Every chapter of the course, run whole; fails where a cell does, and writes docs/course. `CHAPTERS="4 9"` runs some.
course: $(VENV)/ready-for-course
	$(BIN)/python -m course.build pages $(CHAPTERS)

# Wheel and source archive, into `dist`; each is installed where nothing else is, trains, watches and opens chapter 1.
# A few minutes; `PYTHONS="python3.12 python3.13"` tries others than the one here.
release-check: $(VENV)/ready-to-release
	$(BIN)/python -m tests.release $(PYTHONS)

clean:
	rm -rf $(VENV) .venv-bench dist runs site

$(VENV)/ready: $(SETUP)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP) -c constraints.txt -e ".[video]"
	touch $@

$(VENV)/ready-for-docs: $(SETUP)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP) -c constraints.txt -e ".[video,docs,games]"
	touch $(VENV)/ready $@

$(VENV)/ready-to-test: $(SETUP)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP) -c constraints.txt -e ".[test]"
	touch $(VENV)/ready $(VENV)/ready-for-docs $(VENV)/ready-for-course $@

$(VENV)/ready-to-release: $(VENV)/ready
	$(BIN)/python -m pip install $(PIP) -c constraints.txt -e ".[release]"
	touch $@

$(VENV)/ready-for-course: $(VENV)/ready
	$(BIN)/python -m pip install $(PIP) -c constraints.txt -e ".[course,games,minatar,video]"
	touch $@
