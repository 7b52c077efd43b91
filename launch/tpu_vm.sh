#!/usr/bin/env bash
# Trains on a Cloud TPU: makes the VM or takes that of the same name, sends the commit that is
# checked out, installs, trains on all hosts, follows the log, starts again after a preemption,
# and deletes the VM in the end. Interrupted (Ctrl-C), it leaves all as it is; the same command
# follows the training again.
#
#   bash launch/tpu_vm.sh --name=NAME --zone=ZONE --type=v5litepod-8 [options] -- \
#     --config=configs/... --workdir=gs://BUCKET/FOLDER [further arguments of python -m mpl.train]
#
#   --name=NAME        of the VM, and of the queued resource
#   --zone=ZONE        such as us-west4-a
#   --type=TYPE        accelerator type: v2-8, v4-128, v5litepod-8, v5p-8, v6e-8, ...
#   --version=VERSION  of the TPU's software; by default the one for the type
#   --spot             cheaper, may be preempted at any time
#   --queued           waits in the queue for capacity, instead of failing where there is none
#   --data-disk=SPEC   attached to every host, such as source=projects/P/zones/Z/disks/D,mode=read-only
#   --setup=COMMAND    run in the home folder of each host before each start, such as copying data
#   --restarts=20      how often to start again before giving up
#   --keep             does not delete the VM
#   --dry-run          shows the commands of a first run without trouble, and runs none
#
# Exit code: 0 finished; 2 refused; 3 the training failed; 4 another training runs on that VM, which
# is left alone; 1 gave up, or gcloud failed; 130 interrupted.
set -euo pipefail
source "$(dirname "$0")/commands.sh"

name="" zone="" type="" version="" data_disk="" setup="" restarts=20
spot="" queued="" keep="" dry_run=""
while [ $# -gt 0 ]; do
  case "$1" in
    --name=*) name="${1#*=}" ;;
    --zone=*) zone="${1#*=}" ;;
    --type=*) type="${1#*=}" ;;
    --version=*) version="${1#*=}" ;;
    --data-disk=*) data_disk="${1#*=}" ;;
    --setup=*) setup="${1#*=}" ;;
    --restarts=*) restarts="${1#*=}" ;;
    --spot) spot=yes ;;
    --queued) queued=yes ;;
    --keep) keep=yes ;;
    --dry-run) dry_run=yes ;;
    --help | -h) explain; exit 0 ;;
    --) shift; break ;;
    *) fail "the option '$1' is unknown; see --help. Arguments of the training come after --." ;;
  esac
  shift
done

[[ "$name" =~ ^[a-z]([a-z0-9-]*[a-z0-9])?$ ]] ||
  fail "--name is '$name'; give lower-case letters, digits and hyphens, a letter first."
[[ "$zone" =~ ^[a-z]+-[a-z]+[0-9]+-[a-z0-9]+$ ]] || fail "--zone is '$zone'; give one such as us-west4-a."
[[ "$restarts" =~ ^[0-9]+$ ]] || fail "--restarts is '$restarts'; give a whole number, such as 20."
case "$type" in
  v2-[0-9]* | v3-[0-9]* | v4-[0-9]*) usual=tpu-ubuntu2204-base ;;
  v5litepod-[0-9]*) usual=v2-alpha-tpuv5-lite ;;
  v5p-[0-9]*) usual=v2-alpha-tpuv5 ;;
  v6e-[0-9]*) usual=v2-alpha-tpuv6e ;;
  *) fail "--type is '$type'; give v2-, v3-, v4-, v5litepod-, v5p- or v6e- and a number, such as v5litepod-8." ;;
esac
version="${version:-$usual}"
[[ " $* " == *" --config="* ]] || fail "after -- there is no --config=...; give the arguments of python -m mpl.train."
[[ " $* " == *" --workdir=gs://"* ]] ||
  fail "after -- there is no --workdir=gs://...; a VM's own disk is deleted with it: give a folder of a bucket."
[ -n "$dry_run" ] || command -v gcloud >/dev/null ||
  fail "gcloud was not found; install the Google Cloud CLI (https://cloud.google.com/sdk/docs/install) and run 'gcloud init'."

cd "$(dirname "$0")/.."
changed="$(git status --porcelain)" || fail "this is no git checkout; clone the project, so that it is known what runs."
[ -z "$changed" ] ||
  fail "files are not in the commit that would be sent (${changed//$'\n'/, }); commit or stash them."

say() { [ -n "$dry_run" ] || echo "$*" >&2; }

# gcloud compute tpus, in this zone, without questions.
tpus() {
  say "+ $(quote gcloud compute tpus "$@" --zone="$zone" --quiet)"
  run gcloud compute tpus "$@" --zone="$zone" --quiet
}

# Sets $state to that of the VM or of the queued resource; NONE where there is none.
ask() {
  local errors="runs/launch/$name.errors"
  local command=(gcloud compute tpus "$1" describe "$name" --format="value($2)" --zone="$zone" --quiet)
  if [ -n "$dry_run" ]; then
    run "${command[@]}"
    state="${created:-NONE}"
  elif ! state="$("${command[@]}" 2>"$errors")"; then
    if grep -q NOT_FOUND "$errors"; then
      state=NONE
    elif [ "$attempt" -gt 0 ]; then
      state="out of reach"  # Its training goes on.
    else
      cat "$errors" >&2
      echo "error: the state of $name is not known; the lines above say why." >&2
      exit 1
    fi
  fi
}

create() {
  say "Creating $name, a $type."
  local options=(--accelerator-type="$type")
  [ -z "$spot" ] || options+=(--spot)
  [ -z "$data_disk" ] || options+=(--data-disk="$data_disk")
  if [ -n "$queued" ]; then
    tpus queued-resources create "$name" --node-id="$name" --runtime-version="$version" "${options[@]}"
  else
    tpus tpu-vm create "$name" --version="$version" "${options[@]}"
  fi || {
    echo "error: $name could not be created; the lines above say why. --queued waits for capacity." >&2
    exit 1
  }
  created=READY
}

deletion=(tpu-vm delete "$name")
[ -z "$queued" ] || deletion=(queued-resources delete "$name" --force)
remove() {
  say "Deleting $name."
  tpus "${deletion[@]}" || {
    echo "error: $name could not be deleted, and costs money until it is." >&2
    exit 1
  }
}

# Brings the VM up, whatever there is of it.
prepare() {
  local state before=""
  while true; do
    state=READY
    [ -z "$queued" ] || ask queued-resources state.state
    case "$state" in READY | ACTIVE) ask tpu-vm state ;; esac
    case "$state" in
      READY) return ;;
      NONE) create; continue ;;
      PREEMPTED | TERMINATED | SUSPENDED) say "$name is $state."; remove; continue ;;
      FAILED)
        remove
        echo "error: the request for $name has failed; ask for less, or in another zone." >&2
        exit 1
        ;;
      STOPPED) fail "$name is stopped; start it or delete it with gcloud." ;;
    esac
    [ "$state" = "$before" ] || say "$name is $state; waiting."
    before="$state"
    sleep 30
  done
}

# Sends the commit and trains; fails as gcloud does.
train() {
  local remote="mkdir -p mpl && tar -xzf mpl.tar.gz -C mpl"
  [ -z "$setup" ] || remote+=" && ( $setup )"
  remote+=" && $(quote bash mpl/launch/tpu_worker.sh "$@")"
  tpus tpu-vm scp "$archive" "$name:mpl.tar.gz" --worker=all || return
  tpus tpu-vm ssh "$name" --worker=all --command="$remote"
}

leave() {
  say "$2"
  [ -n "$keep" ] || remove
  exit "$1"
}

interrupt() {
  say "Interrupted. $name is left as it is and costs money. The same command follows its training again;" \
    "this deletes it: $(quote gcloud compute tpus "${deletion[@]}" --zone="$zone")"
  exit 130
}
trap interrupt INT TERM

created=""
started="$(date +%Y%m%d-%H%M%S)"
archive="runs/launch/$name.tar.gz"
[ -n "$dry_run" ] || mkdir -p runs/launch
run git archive --format=tar.gz --output="$archive" HEAD
for ((attempt = 0; ; attempt++)); do
  prepare
  code=0
  train "$started-$attempt" "$@" || code=$?
  case "$code" in
    0) leave 0 "Finished." ;;
    2) leave 2 "Refused; the lines above say why." ;;
    3) leave 3 "The training failed; the lines above say why." ;;
    4) exit 4 ;;
    130) interrupt ;;
  esac
  [ "$attempt" -lt "$restarts" ] || leave 1 "Gave up after $restarts restarts; the same command goes on."
  say "Lost $name (exit code $code); starting again from the last checkpoint."
  sleep 30  # A preempted VM is said to be READY for a while.
done
