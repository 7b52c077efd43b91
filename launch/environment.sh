# shellcheck shell=bash
# Sourced by the scripts beside it: goes to the project's folder, makes .venv there and installs
# requirements.txt, once for each state of that file and kind of device, and the project itself, so that
# its commands work from any folder. Sets $python.
# ACCELERATOR=cuda13, cuda12, tpu or cpu names the kind where the device cannot be seen from here.
# INSTALLED=python3 names a Python that has the requirements: nothing is installed, no .venv is made.

source "$(dirname "${BASH_SOURCE[0]}")/commands.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

if [ -n "${INSTALLED:-}" ]; then
  "$INSTALLED" -c 'import jax, flax, optax, orbax.checkpoint, ml_collections, tabulate, tqdm' ||
    fail "INSTALLED is '$INSTALLED', which lacks a requirement; name a Python in which requirements.txt is installed, or leave it out"
  # shellcheck disable=SC2034  # Of the scripts that source this one.
  python="$INSTALLED"
  return 0
fi

base=""
for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
  if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    base="$("$candidate" -c 'import sys; print(sys.executable)')"
    break
  fi
done
if [ -z "$base" ] && command -v uv >/dev/null; then
  base="3.12"  # uv brings one.
fi
[ -n "$base" ] || fail "no Python 3.11 or newer was found; install one, or name it: PYTHON=/path/to/python bash launch/local.sh"

# The kind of jax: with a driver that answers, for its device; else for the CPU.
extra=""
case "${ACCELERATOR:-}" in
  cuda12 | cuda13 | tpu) extra="$ACCELERATOR" ;;
  cpu) ;;
  "")
    if [[ "$(nvidia-smi -L 2>/dev/null)" == *GPU* ]]; then
      extra="cuda13"
    elif compgen -G "/dev/accel*" >/dev/null || [ -n "${TPU_NAME:-}" ]; then
      extra="tpu"
    fi
    ;;
  *) fail "ACCELERATOR is '$ACCELERATOR'; give cuda13, cuda12, tpu or cpu, or leave it out." ;;
esac

python=".venv/bin/python"
wanted="$(cat requirements.txt pyproject.toml; echo "$PWD $extra")"
if [ ! -x "$python" ] || [ "$(cat .venv/installed 2>/dev/null)" != "$wanted" ]; then
  echo "Installing requirements.txt${extra:+ with jax[$extra]} into .venv" >&2
  if command -v uv >/dev/null; then
    [ -x "$python" ] || run uv venv --quiet --python "$base" .venv ||
      fail "uv could make no .venv; the lines above say why"
    uv=(uv)
  else
    [ -x "$python" ] || run "$base" -m venv .venv ||
      fail "no virtual environment could be made; on Debian and Ubuntu: apt-get install python3-venv"
    run "$python" -m pip install --quiet --disable-pip-version-check uv ||
      fail "uv could not be installed into .venv; is there a network?"
    uv=("$python" -m uv)
  fi
  requirements=(-r requirements.txt)
  [ -z "$extra" ] || requirements+=("jax[$extra]")
  [ "$extra" != tpu ] || requirements+=(gcsfs)  # For work directories in a bucket.
  run "${uv[@]}" pip install --quiet --compile-bytecode --python "$python" "${requirements[@]}" ||
    fail "requirements.txt could not be installed; the lines above say why"
  run "${uv[@]}" pip install --quiet --no-deps --python "$python" --editable . ||
    fail "the project could not be installed; the lines above say why"
  [ -n "${dry_run:-}" ] || printf '%s\n' "$wanted" >.venv/installed
fi
