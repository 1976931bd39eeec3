# Every target sets up what it needs; a second call finds it done.
# `make PYTHON=python3.12 lab` picks another Python (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# --no-compile: Python compiles on first import; pip would compile many files that are never used.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := -m pip install --quiet --no-compile --disable-pip-version-check
# When one of these changes, the set-up is brought up to date.
SETUP := pyproject.toml constraints.txt
# The last executed notebook stands for all of them.
EXECUTED := $(patsubst notebooks/%,runs/course/%,$(lastword $(sort $(wildcard notebooks/*.ipynb))))

define set-up
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) --constraint constraints.txt --editable '.$(1)'
	$(BIN)/python -m ipykernel install --sys-prefix --name python3 --display-name "Full Fine-Tuning Lab"
endef

.DEFAULT_GOAL := help
.PHONY: help lab run book clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done

lab: $(VENV)/.ready ## set up and open the course in JupyterLab
	$(BIN)/jupyter lab notebooks/00_setup.ipynb

run: $(VENV)/.ready ## set up and run the whole course without a browser; results in runs/
	$(BIN)/python -m tutorial_lib.course

book: $(VENV)/.ready $(EXECUTED) ## a static site of the executed notebooks, in runs/book
	$(BIN)/python -m tutorial_lib.book

clean: ## remove everything that was made: environments and runs
	rm -rf .venv .venv-latest runs

$(VENV)/.ready: $(SETUP)
	$(call set-up,)
	touch $@

# Executed again when a notebook has changed.
$(EXECUTED): $(VENV)/.ready $(wildcard notebooks/*.ipynb)
	$(BIN)/python -m tutorial_lib.course

# ---- For maintainers and instructors: from here on, nothing goes into the student kit. ----
LATEST := .venv-latest
# Two files of tests, or two notebooks, at a time with a thread each: small models train faster so.
PYTEST = OMP_NUM_THREADS=1 $(1)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
COPIES := runs/test/notebooks
# 1. Tests also wait, for processes and for a network that is not there: a third file uses that time.
# 2. Copies of the notebooks are run, in a runs folder of their own, and keep their outputs.
# 3. What the prose says is compared with these outputs; a short form of the browser tests.
define test-all
	$(call PYTEST,$(1)) -n 3
	rm -rf runs/test && mkdir -p runs/test && cp -R notebooks $(COPIES)
	TUTORIAL_RUNS="$(CURDIR)/runs/test" $(call PYTEST,$(1)) --nbmake --overwrite --nbmake-timeout=600 --timeout=900 $(COPIES)
	EXECUTED_NOTEBOOKS="$(CURDIR)/$(COPIES)" BROWSER_RUNS="$(CURDIR)/runs/test" $(call PYTEST,$(1)) -m '' -k 'lessons or short' tests/test_lessons.py tests/browser
endef

.PHONY: test test-latest browser-test pictures student-kit grade bench bench-memory bench-article lint

test: $(VENV)/.ready-dev ## set up and run all tests, the notebooks included
	$(call test-all,$(BIN))

test-latest: $(LATEST)/.ready-dev ## the same tests with the newest releases that pyproject.toml admits
	$(call test-all,$(LATEST)/bin)

browser-test: $(VENV)/.ready-dev $(EXECUTED) ## every notebook and the book in a real Chromium; screenshots in runs/browser
	EXECUTED_NOTEBOOKS="$(CURDIR)/runs/course" BROWSER_RUNS="$(CURDIR)/runs" BROWSER_REQUIRED=1 $(BIN)/python -m pytest -m browser tests/browser

pictures: $(VENV)/.ready $(EXECUTED) ## the README's pictures, out of the executed notebooks
	$(BIN)/python -m tutorial_lib.publish.readme_pictures

student-kit: $(VENV)/.ready ## dist/student-kit.zip: the course and the exercises without anything hidden
	$(BIN)/python -m tutorial_lib.exercises kit

grade: $(VENV)/.ready ## grade a class: make grade SUBMISSIONS=folder-of-students; results in runs/grades
	$(BIN)/python -m tutorial_lib.exercises grade "$(SUBMISSIONS)"

bench: $(VENV)/.ready ## the fast recipe against the article's, TRL's and a plain loop; report in runs/bench (an hour)
	$(BIN)/python $(INSTALL) --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python bench/speed.py

bench-memory: $(VENV)/.ready ## estimated against measured memory, up to the article's size (24 GB, 5 minutes)
	$(BIN)/python bench/memory.py

bench-article: $(VENV)/.ready ## three real steps of the article's size on the CPU (24 GB, half an hour)
	$(BIN)/python bench/article_size.py

lint: $(VENV)/.ready-dev ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# What .ready has is in it: with both missing, one call of pip is enough.
$(VENV)/.ready-dev: $(SETUP)
	$(call set-up,[dev])
	touch $(VENV)/.ready $@

# No constraints here on purpose. `--upgrade` takes the newest release of each dependency.
$(LATEST)/.ready-dev: $(SETUP)
	$(PYTHON) -m venv --clear $(LATEST)
	$(LATEST)/bin/python $(INSTALL) --upgrade --upgrade-strategy eager --editable '.[dev]'
	$(LATEST)/bin/python -m ipykernel install --sys-prefix --name python3 --display-name "Full Fine-Tuning Lab (latest)"
	touch $@
