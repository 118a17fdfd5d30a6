# From clone to book. `make help` lists the commands.

PYTHON ?= python3
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
NOTEBOOK ?=
PARAMETERS ?=
WITH ?=
PORT ?= 8000
RUN ?= 1
ONLY ?=
OUTPUT ?= _build/bench
PROFILE ?= published
EXECUTOR ?= local

BIN := .venv/bin
READY := .venv/.ready
export PYTHONHASHSEED := 0
export JUPYTER_PREFER_ENV_PATH := 1
# Tests run side by side, one a core: more threads than cores would spend their time waiting for each other.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# Snakemake's own lock outlives a killed run; this one goes with its process.
SNAKEMAKE = flock --close _build/.$@.lock $(BIN)/snakemake --snakefile workflow/Snakefile \
	--jobs $(JOBS) --quiet all --rerun-incomplete --nolock

.DEFAULT_GOAL := help
.PHONY: help setup book test lint serve run compare accept sweep bench clean distclean

help: ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## create .venv with the pinned versions

# The content of the lock decides, and a broken installation is never taken for a finished one.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ": set PYTHON=")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the pinned versions into .venv (once; a few minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

book: $(READY) ## execute all stale notebooks, check the claims, build the site into _build/html
	@mkdir -p _build
	@$(SNAKEMAKE) || { echo "make book failed; the steps are logged in .snakemake/log/" >&2; exit 1; }
	@echo "the book is in _build/html; \`make serve\` opens it"

test: $(READY) ## unit, property and doctest tests, stored outputs of the notebooks, the built book
	$(ONE_THREAD) $(BIN)/python -m pytest -q --ignore tests/test_site.py -n $(JOBS)
	$(BIN)/python -m pytest -q --nbval notebooks -n $(JOBS) --dist loadfile
	@$(MAKE) --no-print-directory book
	$(BIN)/python -m pytest -q tests/test_site.py

lint: $(READY) ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

serve: ## open the built site on localhost
	@test -f _build/html/index.html || { echo "error: there is no site yet: run make book first" >&2; exit 1; }
	@echo "http://localhost:$(PORT)/ (Ctrl-C ends it)"
	@$(PYTHON) -m webbrowser http://localhost:$(PORT)/ >/dev/null 2>&1 || true
	@$(PYTHON) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

run: $(READY) ## run one notebook with other parameters: make run NOTEBOOK=02_sampling PARAMETERS="seed=7"
	@$(BIN)/python workflow/execute.py "$(NOTEBOOK)" --announce -p $(PARAMETERS)

compare: $(READY) ## which claims and stored outputs a fresh run changed, value by value; WITH=folder: one from elsewhere
	@$(BIN)/python workflow/references.py compare $(if $(WITH),"$(WITH)")

accept: $(READY) ## make the fresh run the new reference under notebooks/
	@$(BIN)/python workflow/references.py accept

sweep: $(READY) ## train the initialization sweep, one job a cell: PROFILE=quick takes minutes; EXECUTOR=slurm JOBS=100 a cluster
	@mkdir -p _build
	@$(SNAKEMAKE) --executor $(EXECUTOR) --keep-going _build/sweep/$(PROFILE)/tables/provenance.json \
		|| { echo "make sweep stopped; finished cells are kept, run it again to go on" >&2; exit 1; }
	@$(BIN)/python workflow/tables.py accept $(PROFILE)

bench: $(READY) ## time the package against other recipes on a quiet machine: RUN=2 another run; ONLY="sample law" some rows
	@$(BIN)/python -m benchmarks $(ONLY) --run $(RUN) --output "$(OUTPUT)"

clean: ## remove what was built
	rm -rf _build .snakemake

distclean: clean ## remove the environment too
	rm -rf .venv srlib.egg-info
