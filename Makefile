# From clone to book. `make help` lists the commands.

PYTHON ?= python3
JOBS ?= $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
export TORCH_INDEX ?=
# What .venv holds: a command that asks for other versions than these installs them.
INSTALLED := $(if $(wildcard .venv/.ready),$(or $(shell cat .venv/.ready),pinned))
VERSIONS ?= $(or $(INSTALLED),pinned)
NOTEBOOK ?=
PARAMETERS ?=
WITH ?=
PORT ?= 8000
RUN ?= 1
ONLY ?=
PART ?= 1/1
OUTPUT ?= _build/bench
PROFILE ?= published
EXECUTOR ?= local
SEEDS ?= 50

# They are this make's: what it runs, such as the tests of these commands, does not inherit them.
unexport JOBS VERSIONS NOTEBOOK PARAMETERS WITH PORT RUN ONLY PART OUTPUT PROFILE EXECUTOR SEEDS
# JOBS decides what runs at once, and the book's tests come after the book.
.NOTPARALLEL:

BIN := .venv/bin
READY := .venv/.ready
export PYTHONHASHSEED := 0
# Text is UTF-8 whatever the locale.
export PYTHONUTF8 := 1
export JUPYTER_PREFER_ENV_PATH := 1
# Tests run side by side, one a core: more threads than cores would spend their time waiting for each other.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help setup book test test-code test-random test-notebooks test-book lint wheel serve run compare accept portable \
	mutants sweep seeds level bench clean distclean other-versions

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s%s\n", $$1, $$2 }' Makefile

setup: $(READY) ## create .venv with the pinned versions; VERSIONS=newest: newest that the metadata admits

# The content of the lock decides, and a broken installation is never taken for a finished one.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
$(READY): requirements.lock pyproject.toml $(if $(filter-out $(VERSIONS),$(INSTALLED)),other-versions)
	@case "$(VERSIONS)" in pinned|newest) ;; *) echo "error: VERSIONS=$(VERSIONS): give pinned or newest" >&2; exit 1;; esac
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ": set PYTHON=")'
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv >/dev/null 2>&1 || { rm -rf .venv; \
		echo 'error: `$(PYTHON) -m venv .venv` failed: install the module (Debian, Ubuntu: apt install python3-venv) or set PYTHON=' >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null 2>&1 || { \
		echo 'error: .venv has no pip: install it there, or remove it (make distclean) and let make book make another' >&2; exit 1; }
	@echo "installing the $(VERSIONS) versions into .venv (once; a few minutes)"
	@rm -f $@
	@test -z "$(TORCH_INDEX)" || $(PIP) --no-deps --index-url "$(TORCH_INDEX)" \
		"$$(test $(VERSIONS) = newest && echo torch || grep '^torch==' requirements.lock)"
	@test $(VERSIONS) = newest || $(PIP) --requirement requirements.lock
	@test $(VERSIONS) = pinned || $(PIP) --upgrade ".[book,test]"
	@$(PIP) --no-deps --editable .
	@echo $(VERSIONS) >$@

book: $(READY) ## execute all stale notebooks, check the claims, build the site into _build/html
	@exec $(BIN)/python workflow/build.py book "$(JOBS)"
	@echo "the book is in _build/html; \`make serve\` opens it"

test: test-code test-notebooks book test-book ## all tests

test-code: $(READY) ## unit, property and doctest tests, and those of the workflow
	$(ONE_THREAD) $(BIN)/python -m pytest -q --ignore tests/test_site.py -n $(JOBS) --dist worksteal

test-random: $(READY) ## the property tests with other examples every time; those that fail are kept in .hypothesis
	$(ONE_THREAD) $(BIN)/python -m pytest -q -m hypothesis --hypothesis-profile=random -n $(JOBS)

test-notebooks: $(READY) ## the notebooks against their stored outputs
	$(BIN)/python -m pytest -q --nbval notebooks -n $(JOBS) --dist loadfile

test-book: $(READY) ## the built book, in a browser where there is one
	$(BIN)/python -m pytest -q tests/test_site.py -n $(JOBS)

lint: $(READY) ## ruff, and mypy over srlib
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: $(READY) ## build the package into _build/dist, install it with what it needs and no more, run its examples
	@$(BIN)/python workflow/release.py

serve: ## open the built site on localhost
	@"$(PYTHON)" workflow/serve.py "$(PORT)"

run: $(READY) ## run one notebook with other parameters: make run NOTEBOOK=02_sampling PARAMETERS="seed=7"
	@$(BIN)/python workflow/execute.py "$(NOTEBOOK)" --announce -p $(PARAMETERS)

compare: $(READY) ## which claims and stored outputs a fresh run changed, value by value; WITH=folder: one from elsewhere
	@$(BIN)/python workflow/references.py compare $(if $(WITH),"$(WITH)")

accept: $(READY) ## make the fresh run the new reference under notebooks/
	@$(BIN)/python workflow/references.py accept

portable: $(READY) ## stored outputs on stand-ins for other machines: ONLY="plain jitter 05_jacobian" some of it
	@exec $(BIN)/python workflow/portable.py run "$(JOBS)" $(ONLY)

mutants: $(READY) ## plant errors one at a time and see that a test catches each: PART=3/10 a part; ONLY="srlib/ntk haar-signs" some
	@exec $(BIN)/python workflow/mutants.py "$(JOBS)" "$(PART)" $(ONLY)

sweep: $(READY) ## train the initialization sweep, one job a cell: PROFILE=quick takes minutes; EXECUTOR=slurm JOBS=100 a cluster
	@exec $(BIN)/python workflow/build.py sweep "$(JOBS)" "$(PROFILE)" "$(EXECUTOR)"
	@$(BIN)/python workflow/tables.py accept "$(PROFILE)"

seeds: $(READY) ## every sampled claim and experiment under 50 fresh seeds (hours): SEEDS=10 fewer; EXECUTOR=slurm JOBS=100 a cluster
	@exec $(BIN)/python workflow/build.py seeds "$(JOBS)" "$(SEEDS)" "$(EXECUTOR)"
	@$(BIN)/python workflow/seeds.py accept "_build/seeds/tables-$(SEEDS)"

level: $(READY) ## how often sampled claims reject what is true: a quarter of an hour on two cores
	@$(BIN)/python workflow/level.py "$(JOBS)"

bench: $(READY) ## time the package against other recipes on a quiet machine: RUN=2 another run; ONLY="sample law" some rows
	@$(BIN)/python -m benchmarks $(ONLY) --run "$(RUN)" --output "$(OUTPUT)"

clean: ## remove what was built
	rm -rf _build .snakemake

distclean: clean ## remove the environment too
	rm -rf .venv srlib.egg-info
