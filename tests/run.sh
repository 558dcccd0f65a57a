#!/bin/sh
# All that must pass before a change lands; stops at the first failure. Arguments go to pytest:
# sh tests/run.sh -m "not slow"
set -eu
cd "$(dirname "$0")/.."
. tests/environment.sh
prepare_venv '[dev]'
prepare_gl
prepare_chromium
.venv/bin/ruff format --quiet --check .
.venv/bin/ruff check --quiet .
.venv/bin/mypy
# As many files at a time as there are cores, each with one thread: torch's threads wait for each
# other in a loop, and crawl where somebody else has a core.
OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -n auto --dist loadfile "$@"
