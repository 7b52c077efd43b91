#!/usr/bin/env bash
# Sets up .venv, then runs the test suite, two files at a time; arguments go to pytest.
# In the order of tests/conftest.py: by numbers of tests, the longest files would come last.
set -euo pipefail
source "$(dirname "$0")/environment.sh"

exec "$python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
