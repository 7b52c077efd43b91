"""The launch scripts, with stand-ins for Python, uv, the driver of a GPU, gcloud and SLURM."""

import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sysconfig
import time

import conftest
import pytest

from mpl.run import config as configs

ROOT = pathlib.Path(__file__).parent.parent
SHELL = 'bash cat chmod cp dirname env grep mkdir rm seq setsid sh sleep tail'.split()
SOURCED = ('commands.sh', 'environment.sh')
TPU = ('--name=t', '--zone=us-west4-a', '--type=v5litepod-8')
TRAIN = ('--', '--config=c.py', '--workdir=gs://b/x', "--config.split.unlabeled_only=('8', '9')")


@pytest.fixture
def project(tmp_path):
    """A project folder with the real scripts, and a PATH of stand-ins that print how they are called."""
    project, path = tmp_path / 'project', tmp_path / 'bin'
    shutil.copytree(ROOT / 'launch', project / 'launch')
    (project / 'requirements.txt').write_text('jax\n')
    (project / 'pyproject.toml').write_text('[project]\n')
    path.mkdir()
    for name in SHELL:
        (path / name).symlink_to(shutil.which(name))
    script(path / 'python3', '[ "$1" = -c ] && [[ "$2" == *executable* ]] && echo "$0"; exit 0')
    script(
        path / 'uv',
        f"""echo "uv $*"
if [ "$1" = venv ]; then mkdir -p .venv/bin; cp {path}/said .venv/bin/python; fi""",
    )
    script(path / 'said', 'echo "python $*"')
    return project


def script(path, body):
    path.write_text(f'#!{shutil.which("bash")}\n{body}\n')
    path.chmod(0o755)


def run(project, name, *arguments, **environment):
    return subprocess.run(
        ['bash', str(project / 'launch' / name), *arguments],
        capture_output=True,
        text=True,
        env={'PATH': str(project.parent / 'bin')} | environment,
        timeout=60,
    )


def test_installs_once_then_trains_what_is_asked_for(project):
    first = run(
        project, 'local.sh', '--config=configs/x.py', '--config.steps=2000', '--workdir=a b'
    )
    assert first.returncode == 0, first.stderr
    lines = first.stdout.splitlines()
    assert lines[0].startswith('uv venv') and lines[0].endswith('.venv')
    assert (
        lines[1]
        == 'uv pip install --quiet --compile-bytecode --python .venv/bin/python -r requirements.txt'
    )
    assert lines[2] == 'uv pip install --quiet --no-deps --python .venv/bin/python --editable .'
    assert lines[3] == 'python -m mpl.train --config=configs/x.py --config.steps=2000 --workdir=a b'
    second = run(project, 'local.sh', '--config=configs/x.py')
    assert second.stdout == 'python -m mpl.train --config=configs/x.py\n'
    (project / 'requirements.txt').write_text('jax\nflax\n')
    third = run(project, 'local.sh', '--config=configs/x.py')
    assert third.stdout.startswith('uv pip install')


def test_dry_run_on_this_machine(project):
    shown = run(project, 'local.sh', '--dry-run', '--config=x.py', '--workdir=a')
    assert not (project / '.venv').exists()
    done = run(project, 'local.sh', '--config=x.py', '--workdir=a')
    assert shown.stdout.replace('.venv/bin/python -m', 'python -m') == done.stdout
    compared = run(project, 'local.sh', '--dry-run').stdout
    assert compared.endswith(
        run(project, 'local.sh').stdout.replace('python', '.venv/bin/python', 1)
    )


def test_without_arguments_the_four_methods_are_compared(project):
    said = run(project, 'local.sh').stdout.splitlines()[-1]
    assert said.startswith('python -m mpl.compare --seeds=1 --workdir=runs/digits_40 --configs')
    for config in said.split('--configs ')[1].split():
        assert configs.load(config, []).source.name == 'digits'


def test_test_script_passes_arguments_on(project):
    said = run(project, 'test.sh', '-k', 'config').stdout.splitlines()[-1]
    assert said.startswith('python -m pytest') and said.endswith('-k config')
    assert 'slow' not in said
    fast = run(project, 'test.sh', '--fast', '-k', 'config').stdout.splitlines()[-1]
    assert fast == said.replace('-k config', '-m not slow -k config')


def test_tests_that_are_marked_slow_are_there():
    for name, starts in conftest.SLOW.items():
        text = (ROOT / 'tests' / f'{name}.py').read_text()
        for start in [starts] if isinstance(starts, str) else starts:
            assert f'def {start or "test_"}' in text, (name, start)


@pytest.mark.parametrize('device, extra', [('gpu', 'jax[cuda13]'), ('tpu', 'jax[tpu]')])
def test_the_device_chooses_the_kind_of_jax(project, device, extra):
    if device == 'gpu':
        script(project.parent / 'bin' / 'nvidia-smi', 'echo "GPU 0: H200"')
    done = run(project, 'local.sh', **({'TPU_NAME': 'v5e-8'} if device == 'tpu' else {}))
    assert f'-r requirements.txt {extra}' in done.stdout
    assert (' gcsfs' in done.stdout) == (device == 'tpu')  # For gs:// paths.


def test_a_driver_that_finds_no_gpu_is_no_gpu(project):
    script(project.parent / 'bin' / 'nvidia-smi', 'echo "No devices were found"; exit 6')
    assert 'cuda' not in run(project, 'local.sh').stdout


def test_the_kind_of_jax_can_be_named(project):
    script(project.parent / 'bin' / 'nvidia-smi', 'echo "GPU 0: H200"')
    assert '.txt jax[cuda12]' in run(project, 'local.sh', ACCELERATOR='cuda12').stdout
    assert 'jax[' not in run(project, 'local.sh', ACCELERATOR='cpu').stdout
    refused = run(project, 'local.sh', ACCELERATOR='rocm')
    assert refused.returncode == 2 and "ACCELERATOR is 'rocm'; give cuda13" in refused.stderr


def test_a_python_that_has_everything_is_taken_as_it_is(project):
    """Where there is no network; nothing is made or installed."""
    python = project.parent / 'bin' / 'said'
    done = run(project, 'local.sh', '--config=x.py', INSTALLED=str(python))
    last = done.stdout.splitlines()[-1]
    assert last == 'python -m mpl.train --config=x.py' and 'uv' not in done.stdout
    assert not (project / '.venv').exists()
    script(python, 'exit 1')
    refused = run(project, 'local.sh', '--config=x.py', INSTALLED=str(python))
    assert refused.returncode == 2 and refused.stderr.startswith('error: INSTALLED is ')


def test_the_session_of_a_gpu_passes_arguments_on(project):
    shutil.copytree(ROOT / 'benchmarks', project / 'benchmarks', ignore=lambda *_: ['results'])
    script_path = project / 'benchmarks' / 'gpu.sh'
    done = subprocess.run(
        ['bash', str(script_path), '--minutes=3', '--config.source.data_dir=a b'],
        capture_output=True,
        text=True,
        env={'PATH': str(project.parent / 'bin')},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        'python -m benchmarks.gpu_session --minutes=3 --config.source.data_dir=a b'
    )


def test_uv_brings_a_python_where_none_is_new_enough(project):
    script(project.parent / 'bin' / 'python3', 'exit 1')
    assert 'uv venv --quiet --python 3.12 .venv' in run(project, 'local.sh').stdout


def test_no_python_is_one_sentence(project):
    script(project.parent / 'bin' / 'python3', 'exit 1')
    (project.parent / 'bin' / 'uv').unlink()
    done = run(project, 'local.sh')
    assert done.returncode == 2
    assert done.stderr.startswith('error: no Python 3.11 or newer was found')
    assert not (project / '.venv').exists()


def test_failed_install_is_not_taken_for_a_good_one(project):
    script(
        project.parent / 'bin' / 'uv',
        """[ "$1" = venv ] || exit 1
mkdir -p .venv/bin; cp "$(dirname "$0")/said" .venv/bin/python""",
    )
    done = run(project, 'local.sh')
    assert done.returncode == 2 and 'could not be installed' in done.stderr
    assert not (project / '.venv' / 'installed').exists()


def test_shellcheck():
    folders = (ROOT / 'launch', ROOT / 'benchmarks')
    scripts = [str(path) for folder in folders for path in folder.glob('*.sh')]
    scripts.append(str(ROOT / '.ci' / 'run'))
    shellcheck = pathlib.Path(sysconfig.get_path('scripts')) / 'shellcheck'
    done = subprocess.run(
        [shellcheck, '-x', '-P', str(ROOT / 'launch'), *scripts], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_scripts_can_be_run():
    benchmarks = (ROOT / 'benchmarks').glob('*.sh')
    for path in [*(ROOT / 'launch').glob('*.sh'), *benchmarks, ROOT / '.ci' / 'run']:
        assert os.access(path, os.X_OK) or path.name in SOURCED


@pytest.fixture
def cloud(project):
    """The project with a gcloud that writes down its calls and answers from lists; no time passes."""
    bin = project.parent / 'bin'
    (project / 'calls').touch()
    recorder = f'source {project}/launch/commands.sh; quote "${{0##*/}}" "$@" >>{project}/calls'
    pop = 'pop() { mapfile -t all <"$1"; printf "%s\\n" "${all[@]:1}" >"$1"; echo "${all[0]}"; }'
    script(
        bin / 'gcloud',
        f"""{recorder}; {pop}
case "$4" in
  describe)
    state="$(pop states)"
    case "$state" in
      NONE) echo "ERROR: NOT_FOUND: no such resource" >&2; exit 1 ;;
      ERROR) echo "ERROR: no network" >&2; exit 1 ;;
    esac
    echo "$state" ;;
  ssh) exit "$(pop codes)" ;;
  create) [ ! -e no_capacity ] ;;
esac""",
    )
    script(bin / 'git', f'[ "$1" = status ] && exec cat changed; {recorder}')
    script(bin / 'date', 'echo now')
    (bin / 'sleep').unlink()
    # A script that would wait for ever is interrupted.
    script(
        bin / 'sleep', 'echo >>slept; mapfile -t all <slept; (( ${#all[@]} < 20 )) || kill "$PPID"'
    )
    (project / 'changed').touch()
    return project


def train_on_tpu(cloud, *options, states='NONE READY', codes='0', train=TRAIN):
    """What the script does when gcloud tells these states and codes; and the verbs of its calls."""
    (cloud / 'states').write_text('\n'.join(states.split()) + '\n')
    (cloud / 'codes').write_text('\n'.join(codes.split()) + '\n')
    done = run(cloud, 'tpu_vm.sh', *TPU, *options, *train)
    calls = (cloud / 'calls').read_text().splitlines()
    return done, ' '.join(c.split()[4] for c in calls if c.startswith('gcloud compute tpus'))


@pytest.mark.parametrize(
    'options, states',
    [
        ([], 'NONE READY'),
        (['--spot', '--setup=cp -r "a b" c', '--data-disk=source=d,mode=read-only'], 'NONE READY'),
        (['--queued', '--spot', '--version=v', '--keep'], 'NONE ACTIVE READY'),
    ],
)
def test_a_fresh_tpu_is_used_as_the_dry_run_shows(cloud, options, states):
    gcloud = (cloud.parent / 'bin' / 'gcloud').rename(cloud / 'gcloud')
    shown, called = train_on_tpu(cloud, *options, '--dry-run')
    assert shown.returncode == 0 and called == '' and not shown.stderr
    gcloud.rename(cloud.parent / 'bin' / 'gcloud')
    done, _ = train_on_tpu(cloud, *options, states=states)
    assert done.returncode == 0, done.stderr
    assert (cloud / 'calls').read_text() == shown.stdout


def test_what_a_tpu_is_asked_for_and_told(cloud):
    lines = train_on_tpu(cloud, '--dry-run', '--spot', '--setup=ls')[0].stdout.splitlines()
    assert [line.split()[:5] for line in lines if ' create ' in line] == [
        'gcloud compute tpus tpu-vm create'.split()
    ]
    (create,) = [line for line in lines if ' create ' in line]
    for option in ('--accelerator-type=v5litepod-8', '--version=v2-alpha-tpuv5-lite', '--spot'):
        assert option in create
    (ssh,) = [shlex.split(line) for line in lines if ' ssh ' in line]
    (command,) = [word[10:] for word in ssh if word.startswith('--command=')]
    assert '--worker=all' in ssh and ' && ( ls ) && bash mpl/launch/tpu_worker.sh' in command
    assert shlex.split(command)[-4:] == ['now-0', *TRAIN[1:]]
    queued = train_on_tpu(cloud, '--dry-run', '--queued')[0].stdout
    assert 'queued-resources create t --node-id=t --runtime-version=v2-alpha-tpuv5-lite' in queued
    assert queued.splitlines()[-1].startswith(
        'gcloud compute tpus queued-resources delete t --force'
    )


def test_a_vm_that_is_there_is_used_and_kept_if_asked(cloud):
    done, calls = train_on_tpu(cloud, '--keep', states='READY')
    assert (done.returncode, calls) == (0, 'describe scp ssh')


def test_a_request_waits_in_the_queue(cloud):
    states = (
        'NONE CREATING WAITING_FOR_RESOURCES WAITING_FOR_RESOURCES ACTIVE CREATING ACTIVE READY'
    )
    done, calls = train_on_tpu(cloud, '--queued', states=states)
    assert done.returncode == 0, done.stderr
    assert calls == 'describe create' + 7 * ' describe' + ' scp ssh delete'
    assert done.stderr.count('t is WAITING_FOR_RESOURCES; waiting.') == 1


@pytest.mark.parametrize(
    'options, states',
    [
        ([], 'NONE READY PREEMPTED NONE READY'),
        ([], 'NONE READY TERMINATED DELETING NONE CREATING READY'),
        (['--queued'], 'NONE ACTIVE READY SUSPENDING SUSPENDED NONE ACTIVE READY'),
        (['--queued'], 'NONE ACTIVE READY ACTIVE PREEMPTED NONE ACTIVE READY'),
    ],
)
def test_a_preempted_training_goes_on_by_the_same_command(cloud, options, states):
    done, calls = train_on_tpu(cloud, *options, states=states, codes='255 0')
    assert done.returncode == 0, done.stderr
    assert calls.replace('describe ', '') == 'create scp ssh delete create scp ssh delete'
    first, second = [c for c in (cloud / 'calls').read_text().splitlines() if ' ssh ' in c]
    assert first.replace('now-0', 'now-1') == second


def test_a_lost_connection_is_taken_up_on_the_same_vm(cloud):
    done, calls = train_on_tpu(cloud, states='NONE READY ERROR READY', codes='1 0')
    assert done.returncode == 0, done.stderr
    assert calls == 'describe create describe scp ssh describe describe scp ssh delete'
    assert 't is out of reach; waiting.' in done.stderr


@pytest.mark.parametrize('code', ['2', '3'])
def test_what_is_refused_or_fails_is_not_tried_again(cloud, code):
    done, calls = train_on_tpu(cloud, codes=code)
    assert (done.returncode, calls) == (int(code), 'describe create describe scp ssh delete')


def test_a_vm_on_which_another_training_runs_is_left_alone(cloud):
    done, calls = train_on_tpu(cloud, states='READY', codes='4')
    assert (done.returncode, calls) == (4, 'describe scp ssh')


def test_restarts_are_bounded(cloud):
    done, calls = train_on_tpu(cloud, '--restarts=2', states=4 * 'READY ', codes=4 * '143 ')
    assert done.returncode == 1 and 'Gave up after 2 restarts' in done.stderr
    assert calls == 3 * 'describe scp ssh ' + 'delete'


def test_an_interrupt_leaves_the_vm(cloud):
    done, calls = train_on_tpu(cloud, states='READY', codes='130')
    assert done.returncode == 130 and 'delete' not in calls and 'costs money' in done.stderr


def test_troubles_with_the_tpu_are_told(cloud):
    done, calls = train_on_tpu(cloud, states='ERROR')
    assert (done.returncode, calls) == (1, 'describe')
    assert 'ERROR: no network' in done.stderr and 'state of t is not known' in done.stderr
    (cloud / 'calls').write_text('')
    done, calls = train_on_tpu(cloud, '--queued', states='FAILED')
    assert (done.returncode, calls) == (1, 'describe delete')
    (cloud / 'calls').write_text('')
    (cloud / 'no_capacity').touch()
    done, calls = train_on_tpu(cloud)
    assert (done.returncode, calls) == (1, 'describe create')
    assert '--queued waits' in done.stderr


@pytest.mark.parametrize(
    'options, train, sentence',
    [
        (['--nmae=x'], TRAIN, "the option '--nmae=x' is unknown"),
        (['--name=A_b'], TRAIN, "--name is 'A_b'; give lower-case letters"),
        (['--zone=us'], TRAIN, "--zone is 'us'; give one such as us-west4-a"),
        (['--type=v5e-8'], TRAIN, "--type is 'v5e-8'; give v2-"),
        (['--restarts=many'], TRAIN, "--restarts is 'many'; give a whole number"),
        ([], ['--', '--workdir=gs://b/x'], 'there is no --config'),
        ([], ['--', '--config=c', '--workdir=runs/x'], 'there is no --workdir=gs://'),
    ],
)
def test_bad_options_of_the_tpu_are_one_sentence(cloud, options, train, sentence):
    done, calls = train_on_tpu(cloud, *options, train=train)
    assert (done.returncode, calls) == (2, '')
    assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
    assert sentence in done.stderr


def test_the_tpu_wants_gcloud_and_a_commit(cloud):
    (cloud / 'changed').write_text(' M a.py\n?? b.py\n')
    done, calls = train_on_tpu(cloud)
    assert (done.returncode, calls) == (2, '') and '( M a.py, ?? b.py)' in done.stderr
    (cloud.parent / 'bin' / 'gcloud').unlink()
    done, _ = train_on_tpu(cloud)
    assert done.returncode == 2 and done.stderr.startswith('error: gcloud was not found; install')


def on_worker(project, *arguments, **environment):
    return run(project, 'tpu_worker.sh', *arguments, HOME=str(project.parent), **environment)


def trains(project, body):
    """The stand-in of Python does this when it trains."""
    script(project.parent / 'bin' / 'said', f'echo "python $*" >>trained; {body}')


def test_a_host_trains_in_the_background_and_tells_how_it_ended(project):
    trains(project, 'echo step 1; exit 143')
    first = on_worker(project, 'now-0', '--config=c', 'a  b')
    assert first.returncode == 143, first.stderr
    assert first.stdout.endswith('step 1\n') and 'jax[tpu]' in first.stdout
    trained = 'python -m mpl.train --distributed --config=c a  b\n'
    assert (project / 'trained').read_text() == trained
    # gcloud runs the same again when a connection is lost, even if the training has ended.
    again = on_worker(project, 'now-0', '--config=c', 'a  b')
    assert (again.returncode, again.stdout) == (143, 'step 1\n')
    assert (project / 'trained').read_text() == trained
    trains(project, 'exit 1')
    (project / '.venv' / 'bin' / 'python').unlink()
    assert on_worker(project, 'now-1', '--config=c', 'a  b').returncode == 3
    assert (project / 'trained').read_text() == 2 * trained


def test_a_host_follows_the_training_that_runs(project):
    trains(project, 'for i in {1..200}; do [ -e stop ] || sleep 0.05; done; echo the end; exit 2')
    with subprocess.Popen(
        ['bash', project / 'launch' / 'tpu_worker.sh', 'now-0', '--config=c'],
        env={'PATH': str(project.parent / 'bin'), 'HOME': str(project.parent)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as connection:
        while not (project / 'trained').exists():
            time.sleep(0.02)
        os.killpg(connection.pid, signal.SIGKILL)
    other = on_worker(project, 'now-1', '--config=d')
    assert other.returncode == 4 and 'another training runs on this TPU: --config=c' in other.stderr
    (project.parent / 'bin' / 'tail').unlink()
    script(project.parent / 'bin' / 'tail', f': >stop; exec {shutil.which("tail")} "$@"')
    followed = on_worker(project, 'now-2', '--config=c')
    assert (followed.returncode, followed.stdout) == (2, 'the end\n')
    assert (project / 'trained').read_text().count('\n') == 1


def test_a_host_gets_uv(project):
    uv = (project.parent / 'bin' / 'uv').rename(project.parent / 'uv')
    script(
        project.parent / 'bin' / 'curl',
        f'echo "mkdir -p $HOME/.local/bin; cp {uv} $HOME/.local/bin"',
    )
    assert 'uv pip install' in on_worker(project, 'now-0', '--config=c').stdout


@pytest.fixture
def cluster(project):
    """The project with a SLURM that writes down its calls and runs a job at once."""
    recorder = f'source {project}/launch/commands.sh; quote "${{0##*/}}" "$@" >>{project}/calls'
    bin = project.parent / 'bin'
    script(
        bin / 'sbatch',
        f'{recorder}; while [[ "$1" == --* ]]; do shift; done; SLURM_JOB_ID=7 exec bash "$@"',
    )
    script(
        bin / 'srun',
        f'source {project}/launch/commands.sh; '
        f'quote env JAX_LOCAL_DEVICE_IDS="$JAX_LOCAL_DEVICE_IDS" srun "$@" >>{project}/calls; '
        'exit "$CODE"',
    )
    script(bin / 'scontrol', recorder)
    return project


def test_slurm_runs_what_the_dry_run_shows(cluster):
    options = ('--nodes=2', '--gpus=4', '--time=8:00:00', '--cpus-per-task=32', *TRAIN)
    shown = run(cluster, 'slurm.sh', '--dry-run', *options)
    assert shown.returncode == 0 and not (cluster / 'calls').exists()
    assert not (cluster / '.venv').exists()
    done = run(cluster, 'slurm.sh', *options, CODE='0')
    assert done.returncode == 0, done.stderr
    calls = (cluster / 'calls').read_text()
    assert calls == ''.join(
        line for line in shown.stdout.splitlines(True) if not line.startswith('uv ')
    )
    sbatch, srun = calls.splitlines()
    assert sbatch.startswith('sbatch --nodes=2 --ntasks-per-node=1 --gpus-per-node=4 ')
    assert '--requeue' in sbatch and '--time=8:00:00' in sbatch
    assert srun.startswith('env JAX_LOCAL_DEVICE_IDS=0,1,2,3 srun')
    assert shlex.split(srun)[-5:] == ['mpl.train', '--distributed', *TRAIN[1:]]
    assert 'jax[cuda13]' in shown.stdout


@pytest.mark.parametrize('code, requeued', [('143', True), ('2', False), ('1', False)])
def test_a_job_whose_time_is_up_is_put_in_the_queue_again(cluster, code, requeued):
    done = run(cluster, 'slurm.sh', *TRAIN, CODE=code)
    assert done.returncode == int(code)
    assert ('scontrol requeue 7' in (cluster / 'calls').read_text()) == requeued


@pytest.mark.parametrize(
    'options, sentence',
    [
        (['--node=2', *TRAIN], "the option '--node=2' is unknown"),
        (['--nodes=0', *TRAIN], "--nodes is '0'; give a number from 1"),
        (['--gpus=all', *TRAIN], "--gpus is 'all'; give the number"),
        (['--', '--config=c'], 'there must be --config=... and --workdir=...'),
    ],
)
def test_bad_options_of_slurm_are_one_sentence(cluster, options, sentence):
    done = run(cluster, 'slurm.sh', *options)
    assert done.returncode == 2 and not (cluster / 'calls').exists()
    assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
    assert sentence in done.stderr


def test_slurm_wants_sbatch(project):
    done = run(project, 'slurm.sh', *TRAIN)
    assert done.returncode == 2 and 'error: sbatch was not found' in done.stderr


@pytest.mark.parametrize('name', ['tpu_vm.sh', 'slurm.sh'])
def test_help_tells_every_option(project, name):
    done = run(project, name, '--help')
    assert done.returncode == 0 and not done.stderr
    known = re.findall(r'^ +(--[a-z-]+)', (ROOT / 'launch' / name).read_text(), re.M)
    assert len(known) > 3
    for option in set(known) - {'--help'}:
        assert option in done.stdout, option


def test_the_image_is_made_of_files_that_are_there():
    for line in (ROOT / 'launch' / 'Dockerfile').read_text().splitlines():
        if line.startswith('COPY'):
            for name in line.split()[1:-1]:
                assert (ROOT / name).exists(), name


def test_the_commands_of_the_page_are_accepted(cloud):
    page = (ROOT / 'launch' / 'README.md').read_text()
    commands = [c for c in re.findall(r'```sh\n(.*?)```', page, re.S) if 'launch/tpu_vm.sh' in c]
    assert len(commands) == 2
    for command in commands:
        name, *options = shlex.split(command.replace('\\\n', ' '))[1:]
        shown = run(cloud, pathlib.Path(name).name, '--dry-run', *options)
        assert shown.returncode == 0, shown.stderr
        (config,) = [o.partition('=')[2] for o in options if o.startswith('--config=')]
        assert (ROOT / config.partition(':')[0]).is_file()
