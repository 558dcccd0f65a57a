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
# Two at a time at least pays for what is imported twice; files stay whole for their fixtures.
.venv/bin/python -m pytest -q -n auto --dist loadfile "$@"
