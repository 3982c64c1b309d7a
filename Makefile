# make demo    install what is needed into .venv, run the signed dipole on two ranks (results/signed_dipole)
# make quick   the same installation; lint, types, and the tests that do not take long (CONTRIBUTING.md says when)
# make test    lint, types, and all tests; those in which the number of ranks matters on 2 and 3 ranks as well
# make docs    the site of the documents, build/docs/index.html; a warning is an error
# make nightly ten thousand mutated cases, where the tests take some hundred; runs that are killed, damaged, crowded
#
# DOLFINx comes as a wheel. To use one that is already there (conda, a cluster, a container), name its Python:
#   make demo PYTHON=/path/to/python SYSTEM_DOLFINX=1

VENV ?= .venv
BIN := $(VENV)/bin
MPIEXEC ?= $(firstword $(wildcard $(BIN)/mpiexec) mpiexec)
WORKERS ?= 2# processes that share the tests of one rank; each takes up to 2 GB of memory
PYTEST := $(BIN)/python -m pytest -q
SHARED := $(PYTEST) --numprocesses $(WORKERS) --dist worksteal
ifdef SYSTEM_DOLFINX
VENV_OPTIONS := --system-site-packages
EXTRAS := test
else
EXTRAS := wheel,test
endif

# every Python >= 3.12 that really runs, the newest first: pyenv's shims are there even where no version is selected
define PYTHONS
fits() { "$$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1; }
pyenv=$$(ls -d "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.*/bin/python3 2>/dev/null | sort -t. -k3,3nr -k4,4nr)
for python in $${PYTHON:-python3.14 python3.13 python3.12 python3 $$pyenv}; do
  python=$$(command -v "$$python") && fits "$$python" && echo "$$python"
done
true
endef
export PYTHONS

define FIND_PYTHON
python=$$(sh -c "$$PYTHONS" | head -n 1)
test -n "$$python" && { echo "$$python"; exit 0; }
cat >&2 <<'END'
limitpde needs Python 3.12 or newer with its venv module. One of these provides it:
  Debian 13, Ubuntu 24.04 or newer:  apt-get install python3-venv python3-dev
  any Linux with conda or pyenv:     a Python 3.12 or newer of theirs
or name one: make PYTHON=/path/to/python3.12
END
exit 1
endef
export FIND_PYTHON

define CHECK_COMPILER
command -v gcc >/dev/null || { echo "DOLFINx compiles at run time: install gcc and the C library headers (Debian: gcc libc6-dev)" >&2; exit 1; }
header=$$("$$1" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
test -e "$$header" || { echo "DOLFINx compiles at run time: $$header is missing (Debian: python3-dev)" >&2; exit 1; }
endef
export CHECK_COMPILER

.PHONY: demo docs quick quick-tests test nightly durations lint pythons clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.installed
	$(MPIEXEC) -n 2 $(BIN)/python -m mpi4py demos/signed_dipole.py

docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$(EXTRAS),docs]"
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs

# MPICH's ranks that wait give way to those that work: three of them on two cores take a third less
quick test nightly durations: export MPIR_CVAR_ENABLE_HEAVY_YIELD = 1

quick: $(VENV)/.installed
	@$(MAKE) --no-print-directory --jobs 2 lint quick-tests

quick-tests: $(VENV)/.installed
	$(SHARED) -m "not slow"
	$(MPIEXEC) -n 2 $(PYTEST) -m "ranks and not slow"

test: lint
	$(SHARED)
	$(MPIEXEC) -n 2 $(PYTEST) -m ranks
	$(MPIEXEC) -n 3 $(PYTEST) -m ranks

# what is drawn at random, in larger numbers; the demos' claims on two ranks
nightly: $(VENV)/.installed
	MUTANTS=10000 $(PYTEST) --timeout 7200 tests/runs/test_mutants.py
	$(BIN)/python tests/support/endurance.py --many 40
	$(BIN)/python demos/benchmarks/long_runs.py
	set -e; for demo in demos/*.py; do $(MPIEXEC) -n 2 $(BIN)/python -m mpi4py $$demo --quick; done

# which tests are slow: tests/support/slow.txt anew
durations: $(VENV)/.installed
	$(SHARED) --record-durations

lint: $(VENV)/.installed
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy

$(VENV)/.installed: pyproject.toml
	@python=$$(sh -c "$$FIND_PYTHON") && sh -c "$$CHECK_COMPILER" sh "$$python" && "$$python" -m venv $(VENV_OPTIONS) $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$(EXTRAS)]"
	@touch $@

pythons:
	@sh -c "$$PYTHONS"

clean:
	rm -rf $(VENV) results .mypy_cache .pytest_cache .ruff_cache
