"""Eight virtual CPU devices for every test, and a cache of compiled programs of their own."""

import atexit
import os
import shutil
import tempfile

os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=8'
if 'PYTEST_XDIST_WORKER' not in os.environ:  # Workers share that of the process that started them.
    os.environ['MPL_CACHE'] = tempfile.mkdtemp(prefix='mpl_cache_')
    atexit.register(shutil.rmtree, os.environ['MPL_CACHE'], ignore_errors=True)

# Compiled programs are kept between runs of the tests, outside of the work tree: their keys hold the
# program, jax's version, its flags and the processor.
os.environ.setdefault(
    'MPL_TEST_PROGRAMS', os.path.join(tempfile.gettempdir(), f'mpl_test_programs_{os.getuid()}')
)
os.environ['JAX_COMPILATION_CACHE_DIR'] = os.environ['MPL_TEST_PROGRAMS']
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.1'
os.environ['JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES'] = '-1'

import jax
import pytest
from etils import epath

from mpl.run import config as configs
from mpl.run import loop as train

jax.devices()  # Now, before a test changes XLA_FLAGS.

LONGEST = ('readme_test', 'layout_test', 'algorithms_mpl_test', 'train_test', 'processes_test')


def pytest_collection_modifyitems(items):
    """The longest files first, lest one worker is left with them at the end."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture
def x64():
    """Float64 for the length of a test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def haste():
    """Small programs, compiled in haste: a third less time is spent on them.

    A process of its own is told by JAX_DISABLE_MOST_OPTIMIZATIONS.
    """
    jax.config.update('jax_disable_most_optimizations', True)
    yield
    jax.config.update('jax_disable_most_optimizations', False)


@pytest.fixture(scope='session')
def smoke(tmp_path_factory):
    """A finished run, whose splits are no multiples of its batches."""
    workdir = epath.Path(tmp_path_factory.getbasetemp()) / 'smoke'
    train.run(configs.load('configs/smoke.py', ['--config.batch.evaluate=256']), workdir)
    return workdir
