# Every target sets up what it needs; a second call finds it done. `make PYTHON=python3.12 lab` picks another Python (3.11 or newer).
PYTHON ?= python3
VENV := .venv
LATEST := .venv-latest
BIN := $(VENV)/bin
# Packages are compiled as they are first imported and then kept so: much of what pip would compile is never used.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := -m pip install --quiet --no-compile --disable-pip-version-check
# What a set-up depends on: when one of these changes, it is brought up to date.
RECIPE := pyproject.toml constraints.txt

# The last executed notebook stands for all of them.
EXECUTED := $(patsubst notebooks/%,runs/course/%,$(lastword $(sort $(wildcard notebooks/*.ipynb))))

# Copies of the notebooks are run and kept with their outputs, which the prose is then compared with. In a runs folder of their own, the last
# first: each must do without what another leaves behind. 07 takes longest, and 04 and 08 are done before it leaves its model to them.
COPIES := runs/test/notebooks
# Two files of tests, or two notebooks, at a time, with a thread each: small models are trained faster so than with two threads.
# Notebooks keep freed memory besides, as they do in tutorial_lib/course.py.
SIDE_BY_SIDE = OMP_NUM_THREADS=1 $(1)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
KEEP_MEMORY := MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=2147483647 MALLOC_TOP_PAD_=67108864 THP_MEM_ALLOC_ENABLE=1
NBMAKE = --nbmake --overwrite --nbmake-timeout=600 --timeout=900 $(addprefix $(COPIES)/,$(FIRST) $(filter-out $(FIRST),$(BACKWARDS)))
BACKWARDS := $(notdir $(shell ls -r notebooks/*.ipynb))
FIRST := $(filter 07% 08% 04%,$(BACKWARDS))
# Tests also wait, for processes and for a network that is not there: a third file uses that time.
define test-all
	$(SIDE_BY_SIDE) -n 3
	rm -rf runs/test && mkdir -p runs/test && cp -R notebooks $(COPIES)
	TUTORIAL_RUNS=$(CURDIR)/runs/test $(KEEP_MEMORY) $(SIDE_BY_SIDE) $(NBMAKE)
	EXECUTED_NOTEBOOKS=$(CURDIR)/$(COPIES) BROWSER_RUNS=$(CURDIR)/runs/test $(SIDE_BY_SIDE) -m '' -k 'lessons or short' tests/test_lessons.py tests/browser
endef

define set-up
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) --constraint constraints.txt --editable '.$(1)'
	$(BIN)/python -m ipykernel install --sys-prefix --name python3 --display-name "Full Fine-Tuning Lab"
endef

.DEFAULT_GOAL := help
.PHONY: help lab run test test-latest browser-test book pictures student-kit grade bench bench-memory bench-article lint clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

lab: $(VENV)/.ready ## set up and open the course in JupyterLab
	$(BIN)/jupyter lab notebooks/00_setup.ipynb

run: $(VENV)/.ready ## set up and run the whole course without a browser; results in runs/
	$(BIN)/python -m tutorial_lib.course

test: $(VENV)/.ready-dev ## set up and run all tests, the notebooks included
	$(call test-all,$(BIN))

test-latest: $(LATEST)/.ready-dev ## the same tests with the newest releases that pyproject.toml admits
	$(call test-all,$(LATEST)/bin)

browser-test: $(VENV)/.ready-dev $(EXECUTED) ## every notebook and the book in a real Chromium; screenshots in runs/browser
	EXECUTED_NOTEBOOKS=$(CURDIR)/runs/course BROWSER_RUNS=$(CURDIR)/runs BROWSER_REQUIRED=1 $(BIN)/python -m pytest -m browser tests/browser

book: $(VENV)/.ready $(EXECUTED) ## a static site of the executed notebooks, in runs/book
	$(BIN)/python -m tutorial_lib.book

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

bench-article: $(VENV)/.ready ## three real steps of the article's size on the CPU, its rows tokenized, a million streamed (24 GB, half an hour)
	$(BIN)/python bench/article_size.py

# Executed again when a notebook has changed.
$(EXECUTED): $(VENV)/.ready $(wildcard notebooks/*.ipynb)
	$(BIN)/python -m tutorial_lib.course

lint: $(VENV)/.ready-dev ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean: ## remove everything that was made: environments and runs
	rm -rf $(VENV) $(LATEST) runs

$(VENV)/.ready: $(RECIPE)
	$(call set-up,)
	touch $@

# What .ready has is in it: with both missing, one call of pip is enough.
$(VENV)/.ready-dev: $(RECIPE)
	$(call set-up,[dev])
	touch $(VENV)/.ready $@

# No constraints here on purpose. `--upgrade` takes the newest release of each dependency.
$(LATEST)/.ready-dev: $(RECIPE)
	$(PYTHON) -m venv --clear $(LATEST)
	$(LATEST)/bin/python $(INSTALL) --upgrade --upgrade-strategy eager --editable '.[dev]'
	$(LATEST)/bin/python -m ipykernel install --sys-prefix --name python3 --display-name "Full Fine-Tuning Lab (latest)"
	touch $@
