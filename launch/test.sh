#!/usr/bin/env bash
# Sets up .venv, then runs the test suite, two files at a time:
#   bash launch/test.sh [--fast] [arguments of pytest]
# --fast leaves out the tests that tests/conftest.py marks slow (whole runs, processes, programs that
# compile for long): at most 2 minutes on two idle cores, for the inner loop.
# In the order of tests/conftest.py: by numbers of tests, the longest files would come last.
set -euo pipefail
source "$(dirname "$0")/environment.sh"

if [ "${1:-}" = --fast ]; then
  shift
  set -- -m 'not slow' "$@"
fi
exec "$python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
