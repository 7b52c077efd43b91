"""Eight virtual CPU devices for every test, and a cache of compiled programs of their own."""

import atexit
import functools
import os
import shutil
import tempfile
from unittest import mock

os.environ['JAX_PLATFORMS'] = 'cpu'
# XLA's older emitter of loops compiles small programs three times as fast. Its sums round otherwise, so
# commands in processes of their own have it too, unless they set these flags.
os.environ['XLA_FLAGS'] = (
    '--xla_force_host_platform_device_count=8 --xla_cpu_use_fusion_emitters=false'
)
if 'PYTEST_XDIST_WORKER' not in os.environ:  # Workers share that of the process that started them.
    os.environ['MPL_CACHE'] = tempfile.mkdtemp(prefix='mpl_cache_')
    atexit.register(shutil.rmtree, os.environ['MPL_CACHE'], ignore_errors=True)

# Compiled programs are kept between runs of the tests, outside of the work tree: their keys hold the
# program, jax's version, its flags and the processor. All of them: a run has hundreds of small ones.
os.environ.setdefault(
    'MPL_TEST_PROGRAMS', os.path.join(tempfile.gettempdir(), f'mpl_test_programs_{os.getuid()}')
)
os.environ['JAX_COMPILATION_CACHE_DIR'] = os.environ['MPL_TEST_PROGRAMS']
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
os.environ['JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES'] = '-1'

import jax
import pytest
from etils import epath

from mpl.run import config as configs
from mpl.run import figures, stages

jax.devices()  # Now, before a test changes XLA_FLAGS.
# Of commands with one device, as a user has; eight take longer to compile for, and so does a fast program.
HASTE = {
    'XLA_FLAGS': '--xla_cpu_use_fusion_emitters=false',
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
}

LONGEST = ('readme_test', 'layout_test', 'algorithms_mpl_test', 'train_test', 'processes_test')

# What `launch/test.sh --fast` leaves out: file, and how the names of its slow tests begin.
SLOW = {
    # Whole runs, several of them, and commands in processes of their own.
    'active_test': (
        'test_a_cycle',
        'test_a_finished',
        'test_a_study',
        'test_every_cycle',
        'test_folders',
        'test_passes',
        'test_people',
        'test_the_command',
        'test_the_first',
        'test_the_report',
    ),
    'backbones_test': '',
    'bucket_test': '',
    'collapse_test': 'test_runs_',
    'command_test': '',
    'compare_test': '',
    'comparison_probes_test': 'test_a_comparison',
    'config_files_test': 'test_images_of_ones_own_train',
    'config_test': ('test_bad_input', 'test_the_command', 'test_our_own'),
    'data_damage_test': 'test_a_run',
    'data_open_set_test': 'test_a_run',
    'data_record_test': '',
    'evaluate_test': '',
    'export_test': '',
    'experiment_test': ('test_nothing_is_traced', 'test_each_process'),
    'faults_test': '',
    'label_browser_test': '',
    'label_test': 'test_a_killed_page',
    'mobyv2al_test': 'test_selection',
    'lora_test': ('test_a_run', 'test_memory', 'test_mpl'),
    'pages_test': '',
    'people_test': '',
    'predict_test': '',
    'pretrain_test': '',
    'probe_test': '',
    'processes_test': '',
    'queue_leak_benchmark_test': '',
    'readme_test': '',
    'select_test': '',
    'teacher_test': '',
    'train_test': '',
    # Many or large programs to compile.
    'algorithms_collapse_test': '',
    'algorithms_extremes_test': ('test_smallest', 'test_hyperparameters'),
    'algorithms_family_test': '',
    'algorithms_mpl_test': '',
    'algorithms_pretext_test': '',
    'algorithms_reduced_test': '',
    'algorithms_test': (
        'test_extreme',
        'test_labels',
        'test_no_knob',
        'test_number_of_shards',
        'test_order',
        'test_update',
    ),
    'augment_images_test': 'test_views_are_functions',
    'augment_mix_test': 'test_a_run',
    'augment_randaugment_test': '',
    'augment_released_test': '',
    'collectives_test': '',
    'layout_test': 'test_every_config_is_built',
    'models_conv_test': '',
    'models_convnext_test': '',
    'models_efficientnet_test': '',
    'models_resnet_test': '',
    'models_vit_blocks_test': '',
    'models_vit_test': '',
    'models_vit_timm_test': '',
    'models_wide_resnet_test': '',
    'plan_test': '',
    'self_supervised_losses_test': '',
    'pretraining_test': ('test_labels', 'test_one_device', 'test_a_run', 'test_without'),
    'recipes_test': '',
    'sharding_test': '',
    'spatial_test': '',
    'traffic_test': '',
    'transfer_test': '',
    'weights_test': '',
    # Benchmarks, made small.
    'augment_benchmark_test': '',
    'gpu_session_test': 'test_a_session',
    'gpu_test': '',
    'step_time_test': '',
    'torch_test': '',
    'tune_digits_test': '',
    'two_moons_test': '',
}


def pytest_collection_modifyitems(items):
    """The longest files first, lest one worker is left with them at the end; marks slow tests."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)
    for item in items:
        if item.path.stem in SLOW and item.name.startswith(SLOW[item.path.stem]):
            item.add_marker('slow')


@pytest.fixture(scope='session', autouse=True)
def drawing():
    """Runs draw no figures, which take three times as long as all the rest of a small one.

    Those within `with drawing():` do, and those of commands in processes of their own.
    """
    draw = figures.draw
    with mock.patch.object(figures, 'draw', lambda *_: None):
        yield functools.partial(mock.patch.object, figures, 'draw', draw)


@pytest.fixture
def x64():
    """Float64 for the length of a test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def fast_compile():
    """Small programs, compiled fast: a third less time is spent on them.

    A process of its own is told by JAX_DISABLE_MOST_OPTIMIZATIONS.
    """
    jax.config.update('jax_disable_most_optimizations', True)
    yield
    jax.config.update('jax_disable_most_optimizations', False)


@pytest.fixture(scope='session')
def smoke(tmp_path_factory):
    """A finished run, whose splits are no multiples of its batches."""
    workdir = epath.Path(tmp_path_factory.getbasetemp()) / 'smoke'
    stages.run(configs.load('configs/smoke.py', ['--config.batch.evaluate=256']), workdir)
    return workdir
