#!/usr/bin/env bash
# Sets up .venv, then runs the test suite, two files at a time; arguments go to pytest.
set -euo pipefail
source "$(dirname "$0")/environment.sh"

exec "$python" -m pytest -n 2 --dist loadfile "$@"
