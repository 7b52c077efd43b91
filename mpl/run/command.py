"""What all commands share: arguments, log lines, and errors as one sentence."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import jax
from absl import logging


def parser(doc: str) -> argparse.ArgumentParser:
    """A parser whose help is the module's docstring."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def parse(of: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """The arguments, and the overrides of the config, such as --config.steps=2000."""
    given, rest = of.parse_known_args()
    for argument in rest:
        if not argument.startswith('--config.') or '=' not in argument:
            raise ValueError(
                f'The argument {argument!r} is unknown; see --help. '
                'Numbers of the config are given as --config.steps=2000.'
            )
    return given, rest


def main(command: Callable[[], None]) -> None:
    """Runs a command. Exit code 2 and one sentence where the input is refused.

    Programs compiled once are kept in JAX_COMPILATION_CACHE_DIR, by default
    ~/.cache/mpl, so that the next run of the same program starts sooner.
    """
    logging.set_verbosity(logging.WARNING)
    cache()
    try:
        command()
    except (ValueError, FloatingPointError) as error:
        if not _is_ours(error):
            raise
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2 if isinstance(error, ValueError) else 1)
    except OSError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)


def _is_ours(error: Exception) -> bool:
    """Whether this package itself raised it, to refuse its input, and not a library or a bug."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = Path(__file__).parents[1] in Path(frames[-1].filename).parents
    return inside and frames[-1].line.startswith('raise ')


def cache() -> None:
    """Keeps compiled programs over runs."""
    folder = os.environ.get('JAX_COMPILATION_CACHE_DIR', str(Path.home() / '.cache' / 'mpl'))
    jax.config.update('jax_compilation_cache_dir', folder)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)
