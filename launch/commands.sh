# shellcheck shell=bash
# Sourced by the scripts beside it: how they refuse, explain themselves and show commands.

fail() { echo "error: $*" >&2; exit 2; }

# The comment at the head of the script.
explain() {
  local line
  while IFS= read -r line; do
    case "$line" in
      '#!'* | '# shellcheck'*) ;;
      '#'*) line="${line#'#'}"; echo "${line# }" ;;
      *) break ;;
    esac
  done <"$0"
}

# A command as it can be typed, in one line; quoted where a shell needs it.
quote() {
  local word line="" quoted="'\\''"
  for word in "$@"; do
    [[ "$word" =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]] || word="'${word//\'/$quoted}'"
    line+="$word "
  done
  echo "${line% }"
}

# Runs a command; with --dry-run shows it instead.
run() {
  if [ -n "${dry_run:-}" ]; then quote "$@"; else "$@"; fi
}
