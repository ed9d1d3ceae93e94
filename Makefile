# make demo   the main job on the packaged demo archive, with no network
# make test   linters, types and tests
# make long   whole pages and the demo as somebody types them, a browser, odd files, the rest of the cases of tests that have many;
#             what .ci/run adds to make test
# make quick  the tests that say most in the least time; see QUICK below
# make test-extras   the wheel with each extra alone, in clean environments; needs the package registry
# make check-release  citation, changelog, workflows, Dockerfile, recipe and distributions, by others' tools
# make dist   the distributions, which come out the same to the byte wherever they are built
# make sbom   what the wheel with all extras depends on, as CycloneDX
# make paper  the figures and tables of paper/, out of the package and the documentation
# make test-oldest   the same tests with the oldest dependencies that pyproject.toml allows
# make test PYTHON=python3.14 VENV=.venv314   ... with another interpreter
# make docs  the site, into build/site; warnings are errors, and links are checked
# make gallery  the pictures of docs/gallery.md, by the code on that page
# make screens   the pictures of the terminal in docs/images, made anew
# make notebook   docs/images/notebook.png: a notebook run on the demo archive, as Chromium shows it
# make bench  what the usual work takes beside what it is meant to take; twenty minutes, with nothing beside it
# make bench-peer  times, memory and errors beside the published atldld 0.3.4, of 20 sections; ten to twenty minutes
# make bench-all  the same of 60 sections, and what every other benchmark finds; hours
# make performance  the tables of docs/performance.md, of the files in benchmarks/results
# make pictures  the pictures of the report (needs Chromium) and of refinement, of the demo brain
# make align-pictures  the pictures of the page of atldld align in docs/images; needs Chromium
# make mutants   how many small changes of the geometry and the warps the tests notice; half an hour
# make mutants FILES="place/planes warp/resample" SAMPLE=10 SEED=1   of two files, one change in ten
# make images   every picture of docs/: terminal, notebook, gallery, report
# All make an environment in .venv first; only Python 3.11 or newer, make and git are needed.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Each worker takes tests that follow each other, so that what a file's tests share is made once;
# who is ready first takes from the others.
PYTEST := -m pytest -n auto --dist worksteal
# commands that tests start would compile every module anew
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test long quick test-oldest test-extras check-release dist sbom paper lint docs images screens notebook \
    gallery bench bench-peer bench-all performance pictures align-pictures mutants clean

demo: $(VENV)/.installed
	$(BIN)/atldld demo demo --force

test: $(VENV)/.installed-dev lint
	$(BIN)/python $(PYTEST)

long: $(VENV)/.installed-dev
	$(BIN)/python $(PYTEST) -m long

# geometry, formats and parsers by the thousand, and one way through each command; not the files
# whose tests render many sections, start many processes, or wait
QUICK := tests/place tests/formats tests/rma tests/find tests/atlas tests/support/test_files.py \
    tests/warp/test_resample.py tests/warp/test_displacement.py tests/warp/test_background.py \
    tests/compat tests/fetch/test_cache.py tests/fetch/test_answers.py tests/fetch/test_client.py \
    tests/volume/test_slabs.py tests/sections tests/test_records.py tests/test_errors.py \
    tests/test_init.py tests/cli/test_catalogue.py tests/cli/test_sync.py tests/test_settings.py \
    tests/release

quick: $(VENV)/.installed-dev
	$(BIN)/python $(PYTEST) $(QUICK)

# uv is the installer that can choose the oldest versions; what only the tests need is as new as it fits
test-oldest:
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=$(VENV)-oldest $(VENV)-oldest/bin/uv pip install --quiet --resolution lowest-direct -e '.[all]'
	VIRTUAL_ENV=$(VENV)-oldest $(VENV)-oldest/bin/uv pip install --quiet -e '.[all,dev]'
	$(VENV)-oldest/bin/python $(PYTEST)

# uv makes an environment in seconds; without it, pip does in a minute
test-extras: $(VENV)/.installed-dev
	$(PIP) uv
	$(BIN)/python -m pytest -n 0 -s -m install tests/release

check-release: $(VENV)-dist/.installed dist
	$(VENV)-dist/bin/python tests/release/check.py

# the date in them is that of the commit
dist: $(VENV)-dist/.installed
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(VENV)-dist/bin/python -m hatchling build -d dist

# found in dist, not named by its path, which would stand in the list
sbom: dist
	rm -rf sbom $(VENV)-sbom
	mkdir sbom
	$(VENV)-dist/bin/uv venv --quiet --python $(VENV)-dist/bin/python $(VENV)-sbom
	version=$$(ls dist/*.whl | sed 's/[^-]*-\([^-]*\)-.*/\1/') && $(VENV)-dist/bin/uv pip install --quiet \
	    --python $(VENV)-sbom/bin/python -c constraints.txt --find-links dist "atldld[all]==$$version"
	$(VENV)-dist/bin/uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py environment $(VENV)-sbom/bin/python \
	    --pyproject pyproject.toml --mc-type library --output-reproducible --validate -o sbom/atldld.cdx.json

paper: $(VENV)/.installed
	$(BIN)/python benchmarks/paper.py

$(VENV)-dist/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-dist
	$(VENV)-dist/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt hatchling hatch-vcs uv
	touch $@

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tests/typed/check.py
	$(BIN)/lint-imports
	$(BIN)/python tests/prose/check.py

# no network: what the theme would load is in its package
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# every picture of docs/
images: screens notebook gallery pictures align-pictures

gallery: $(VENV)/.installed
	$(BIN)/python docs/gallery.py

screens: $(VENV)/.installed
	$(BIN)/python benchmarks/screens.py

notebook: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/notebook.py

# what is found goes to build/bench; what a page shows is copied to benchmarks/results by hand
bench: $(VENV)/.installed
	mkdir -p build/bench
	$(BIN)/python benchmarks/goals.py --json build/bench/goals.json

bench-peer: $(VENV)/.installed
	mkdir -p build/bench
	$(BIN)/python benchmarks/bench_peer.py --sections 20 --runs 3 --json build/bench/peer.json

bench-all: $(VENV)/.installed-dev
	mkdir -p build/bench
	for file in benchmarks/bench_*.py; do \
	    name=$$(basename $$file .py); $(BIN)/python $$file --json build/bench/$${name#bench_}.json || exit 1; \
	done

performance: $(VENV)/.installed
	$(BIN)/python benchmarks/performance.py

pictures: $(VENV)/.installed-dev
	$(BIN)/python docs/images/take_report.py
	$(BIN)/python docs/images/before_after.py

align-pictures: $(VENV)/.installed-dev
	$(BIN)/python docs/images/take_align.py

FILES ?=
SAMPLE ?= 1
SEED ?= 0

# at low priority, one process: a run is long and nobody waits for it
mutants: $(VENV)-mutants/.installed
	nice -n 19 $(VENV)-mutants/bin/python benchmarks/mutants.py --sample $(SAMPLE) --seed $(SEED) $(FILES)

$(VENV)-mutants/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-mutants
	$(VENV)-mutants/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]' brainglobe-space hypothesis 'mutmut>=3.8,<4' pytest pytest-timeout
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[all]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[all,dev]'
	touch $(VENV)/.installed $@

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[all,docs]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-mutants $(VENV)-dist $(VENV)-sbom mutants demo build dist sbom .mypy_cache .pytest_cache .ruff_cache
