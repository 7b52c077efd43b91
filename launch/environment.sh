# shellcheck shell=bash
# Sourced by the scripts beside it: goes to the project's folder, makes .venv there and
# installs requirements.txt, once for each state of that file and kind of device. Sets $python.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

fail() { echo "error: $*" >&2; exit 2; }

base=""
for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
  if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    base="$candidate"
    break
  fi
done
[ -n "$base" ] || fail "no Python 3.11 or newer was found; install one, or name it: PYTHON=/path/to/python bash launch/local.sh"

# The kind of jax: with a driver that answers, for its device; else for the CPU.
extra=""
if [[ "$(nvidia-smi -L 2>/dev/null)" == *GPU* ]]; then
  extra="cuda13"
elif compgen -G "/dev/accel*" >/dev/null || [ -n "${TPU_NAME:-}" ]; then
  extra="tpu"
fi

python=".venv/bin/python"
wanted="$(cat requirements.txt; echo "$extra")"
if [ ! -x "$python" ] || [ "$(cat .venv/installed 2>/dev/null)" != "$wanted" ]; then
  echo "Installing requirements.txt${extra:+ with jax[$extra]} into .venv" >&2
  if command -v uv >/dev/null; then
    [ -x "$python" ] || uv venv --quiet --python "$("$base" -c 'import sys; print(sys.executable)')" .venv
    uv=(uv)
  else
    [ -x "$python" ] || "$base" -m venv .venv ||
      fail "no virtual environment could be made; on Debian and Ubuntu: apt-get install python3-venv"
    "$python" -m pip install --quiet --disable-pip-version-check uv ||
      fail "uv could not be installed into .venv; is there a network?"
    uv=("$python" -m uv)
  fi
  requirements=(-r requirements.txt)
  [ -z "$extra" ] || requirements+=("jax[$extra]")
  "${uv[@]}" pip install --quiet --python "$python" "${requirements[@]}" ||
    fail "requirements.txt could not be installed; the lines above say why"
  printf '%s\n' "$wanted" >.venv/installed
fi
