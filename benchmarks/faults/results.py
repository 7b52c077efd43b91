"""The results of a run, in a form in which two runs can be compared."""

import csv
import hashlib
import json
from pathlib import Path

import jax
import numpy as np
from etils import epath

from mpl.run import evaluation, metrics, records, row_files

# What of a report differs between two runs of the same bits.
ITS_OWN = ('seconds', 'peak_memory_bytes', 'peak_device_memory_bytes', 'devices')
HANDED_ON = ('split.json', 'selected.json')


def find(workdir: Path) -> dict:
    """The results of a finished run and of its stages, JSON-serializable.

    Those are a hash of every bit of the last states, the lines of the metrics, the report, all
    without times and sizes, and hashes of the files that a run hands on.

    Raises:
      ValueError: the run is not finished, or a file of it is damaged.
    """
    stages = evaluation.load(epath.Path(workdir))
    found = {
        'states': [_hash(stage.state) for stage in stages],
        'metrics': [_without(line) for line in metrics.read(epath.Path(workdir / 'metrics.jsonl'))],
        'report': _without(json.loads((workdir / 'report.json').read_text(encoding='utf-8'))),
    }
    for name in HANDED_ON:
        if (workdir / name).exists():
            found[name] = _hash_split(workdir / name)
    if (workdir / 'logits.npy').exists():
        found['logits.npy'] = hash_logits(workdir / 'logits.npy')
    for stage in ('pretrain', 'teacher', 'finetune'):
        if (workdir / stage).exists():
            found[stage] = find(workdir / stage)
    return found


def hash_logits(path: Path) -> str:
    """Of the logits in a file as they are read: rows that are not written hold no result.

    Raises:
      ValueError: the file is damaged.
    """
    rows = row_files.read(str(path))
    return hashlib.sha256(rows[np.arange(len(rows.checksums))].tobytes()).hexdigest()


def differences(got: dict, want: dict) -> str:
    """The names of the results that differ, with the values where they are short; '' for none."""
    names = []
    for key in sorted({*got, *want}):
        a, b = got.get(key), want.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            names += [f'{key}.{inner}' for inner in filter(None, [differences(a, b)])]
        elif a != b:
            names.append(f'{key}: {str(a)[:80]} instead of {str(b)[:80]}')
    return '; '.join(names)


def read_table(path: Path) -> list[dict]:
    """The rows of compare.csv, without times and sizes."""
    with path.open(newline='', encoding='utf-8') as file:
        return [_without(row) for row in csv.DictReader(file)]


def _hash_split(path):
    """Of a split, without its provenance, which names the folder of the run."""
    record = records.read(epath.Path(path), 'a split', 'write it again')
    text = json.dumps({k: v for k, v in record.items() if k != 'made_by'}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _hash(state) -> str:
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        digest.update(f'{jax.tree_util.keystr(path)} {array.dtype} {array.shape}'.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _without(line: dict) -> dict:
    return {
        key: value for key, value in line.items() if key not in ITS_OWN and 'checksum' not in key
    }
