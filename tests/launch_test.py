"""The launch scripts, with stand-ins for Python, uv and the driver of a GPU."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SHELL = ('bash', 'cat', 'dirname', 'grep', 'mkdir', 'chmod', 'cp')


@pytest.fixture
def project(tmp_path):
    """A project folder with the real scripts, and a PATH of stand-ins that print how they are called."""
    project, path = tmp_path / 'project', tmp_path / 'bin'
    shutil.copytree(ROOT / 'launch', project / 'launch')
    (project / 'requirements.txt').write_text('jax\n')
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
    )


def test_installs_once_then_trains_what_is_asked_for(project):
    first = run(
        project, 'local.sh', '--config=configs/x.py', '--config.steps=2000', '--workdir=a b'
    )
    assert first.returncode == 0, first.stderr
    lines = first.stdout.splitlines()
    assert lines[0].startswith('uv venv') and lines[0].endswith('.venv')
    assert lines[1] == 'uv pip install --quiet --python .venv/bin/python -r requirements.txt'
    assert lines[2] == 'python -m mpl.train --config=configs/x.py --config.steps=2000 --workdir=a b'
    second = run(project, 'local.sh', '--config=configs/x.py')
    assert second.stdout == 'python -m mpl.train --config=configs/x.py\n'
    (project / 'requirements.txt').write_text('jax\nflax\n')
    third = run(project, 'local.sh', '--config=configs/x.py')
    assert third.stdout.startswith('uv pip install')


def test_without_arguments_the_four_methods_are_compared(project):
    said = run(project, 'local.sh').stdout.splitlines()[-1]
    assert said.startswith('python -m mpl.compare --seeds=1 --workdir=runs/digits_40 --configs')
    for config in said.split('--configs ')[1].split():
        assert (ROOT / config).is_file()


def test_test_script_passes_arguments_on(project):
    said = run(project, 'test.sh', '-k', 'config').stdout.splitlines()[-1]
    assert said.startswith('python -m pytest') and said.endswith('-k config')


@pytest.mark.parametrize('device, extra', [('gpu', 'jax[cuda13]'), ('tpu', 'jax[tpu]')])
def test_the_device_chooses_the_kind_of_jax(project, device, extra):
    if device == 'gpu':
        script(project.parent / 'bin' / 'nvidia-smi', 'echo "GPU 0: H200"')
    done = run(project, 'local.sh', **({'TPU_NAME': 'v5e-8'} if device == 'tpu' else {}))
    assert f'-r requirements.txt {extra}' in done.stdout


def test_a_driver_that_finds_no_gpu_is_no_gpu(project):
    script(project.parent / 'bin' / 'nvidia-smi', 'echo "No devices were found"; exit 6')
    assert 'cuda' not in run(project, 'local.sh').stdout


def test_no_python_is_one_sentence(project):
    script(project.parent / 'bin' / 'python3', 'exit 1')
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


@pytest.mark.skipif(not shutil.which('shellcheck'), reason='shellcheck is not installed')
def test_shellcheck():
    scripts = [*map(str, (ROOT / 'launch').glob('*.sh')), str(ROOT / '.ci' / 'run')]
    done = subprocess.run(
        ['shellcheck', '-x', '-P', str(ROOT / 'launch'), *scripts], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_scripts_can_be_run():
    for path in [*(ROOT / 'launch').glob('*.sh'), ROOT / '.ci' / 'run']:
        assert os.access(path, os.X_OK) or path.name == 'environment.sh'
