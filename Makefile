# The two commands a reader needs are `make book` and `make test`; `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
CHAPTERS := $(sort $(wildcard book/*.ipynb))
# A process a core; each takes a gigabyte.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4
# A machine without AVX-512, on one that has it: there products round, and training goes, otherwise.
AVX2 := ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 \
	OPENBLAS_CORETYPE=Haswell
TRAINING := $(addprefix tests/test_,training.py width.py language.py sam.py) \
	$(addprefix book/,10-the-lemma.ipynb 10a-the-lemma-put-right.ipynb 12-pythia.ipynb)
# What is independent of the lab, but for hostile input, which the other tests have.
LOWEST := $(addprefix tests/test_,accuracy.py checkpoints.py cli.py devices.py extras.py hallmarks.py \
	hub.py hub_buckets.py record.py stores.py streaming.py)

# Whose launch buttons and links the pages have, https://github.com/OWNER/NAME. None, no buttons.
REPOSITORY ?= $(shell sed -n 's/^repository-code: *//p' CITATION.cff)

.PHONY: help book pdf lint types-js test fuzz test-slow test-lowest test-avx2 test-gpu notebooks lab serve data bench clean

help:
	@echo "make book       execute what has changed and build the pages into _build/html"
	@echo "make pdf        the whole book in one file, _build/trajectory-maps.pdf"
	@echo "make test       tests, doctests, stored notebooks, and the pages in a real browser"
	@echo "make test-slow  the tests that take minutes"
	@echo "make fuzz       ten minutes of damaged files, before a release"
	@echo "make test-lowest  those of the core with the lowest versions that it allows"
	@echo "make test-avx2  what trains, again as on a machine without AVX-512"
	@echo "make test-gpu   the tests that need a CUDA device"
	@echo "make lint       lines, layout and types: ruff and mypy"
	@echo "make types-js   types of the explorer's modules: tsc, by npx"
	@echo "make notebooks  execute the chapters in place and store them with their outputs"
	@echo "make lab        open the chapters in JupyterLab"
	@echo "make serve      serve the built pages on this machine"
	@echo "make data       run all studies again and put them, images, text and the manifest into data/ (three hours)"
	@echo "make bench      time the kernel, and the opening of large models, against peers and limits"
	@echo "make clean      remove the pages and the executed chapters"

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements.txt
	touch $@

# Chapters are executed again where something has changed. Pages are always made from scratch, which
# takes seconds, so that none survives its source and no warning is passed over. Without -W one
# exits 0.
book: .venv/installed
	rm -rf _build/html _build/.doctrees _build/jupyter_execute
	$(BIN)/python book/execute.py
	REPOSITORY=$(REPOSITORY) $(BIN)/jupyter-book build _build/source --path-output . -n -W --keep-going -q
	@echo "The pages are in $(CURDIR)/_build/html/index.html; make serve shows them."

pdf: book
	$(BIN)/python book/print.py

test: book
	$(PYTEST) --dist worksteal --doctest-modules trajhelpers tests

# SECONDS=60 for a look; python tests/fuzz --help for the rest.
fuzz: .venv/installed
	$(BIN)/python tests/fuzz --seconds $(or $(SECONDS),600)

test-slow: .venv/installed test-lowest
	$(PYTEST) --dist worksteal -m slow tests

# What is not of the lowest version there, torch and the tests' own tools, is .venv's.
test-lowest: .venv-lowest/installed
	.venv-lowest/bin/python -m pytest -n logical --maxprocesses 4 --dist worksteal $(LOWEST)

.venv-lowest/installed: .venv/installed requirements-lowest.txt
	rm -rf .venv-lowest
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --disable-pip-version-check -q -r requirements-lowest.txt $(TORCH)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
		$$(.venv-lowest/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/rest.pth
	touch $@

# loadfile keeps the cells of a chapter in order, in one kernel.
test-avx2: .venv/installed
	$(AVX2) $(PYTEST) --dist loadfile --nbval-lax $(TRAINING)

test-gpu: .venv/installed
	$(BIN)/python -m pytest -m gpu tests

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What the JSDoc of the explorer says. A target of its own: all else goes without npm.
types-js:
	npx --yes --package typescript@5.9.3 tsc --project trajhelpers/explorer/js

notebooks: .venv/installed
	$(BIN)/python book/store.py $(CHAPTERS)

lab: .venv/installed
	$(BIN)/jupyter lab --notebook-dir=book

serve: book
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html

# From what was trained before, where runs/ has it.
data: .venv/installed
	$(BIN)/python data/make.py images
	$(BIN)/python data/make.py text
	$(BIN)/trajhelpers study --all --out runs
	$(BIN)/python -m trajhelpers.lab.redundancy.run --out runs
	$(BIN)/python data/make.py studies runs
	$(BIN)/python data/make.py redundancy runs
	$(BIN)/python data/make.py first_map
	$(BIN)/python data/make.py manifest

# OUT=data/benchmarks/gram.json keeps the figures, for the chapter "How fast, how exact".
bench: .venv/installed
	$(BIN)/python benchmarks/gram.py $(if $(OUT),--out $(OUT))
	$(BIN)/python benchmarks/opening.py

clean:
	rm -rf _build
