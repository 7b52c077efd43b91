"""Paths as arguments: literal but for a leading ~, or refused with a sentence."""

import os
import pwd

import pytest

from mpl.run import paths

ODD = [
    'lr[0.1]',
    'a*b',
    'a?b',
    '$x$',
    'a:b',
    'a b',
    '"q"',
    "it's",
    '100%',
    '~',
    'é',
    'a|b',
    '-x',
    '',
]


@pytest.mark.parametrize('name', ODD)
def test_everything_in_a_path_is_literal(name, tmp_path):
    assert paths.parse(f'runs/{name}', '--workdir') == os.path.normpath(f'runs/{name}')
    assert paths.parse(f'{tmp_path}/{name}/x', '--workdir') == os.path.normpath(
        f'{tmp_path}/{name}/x'
    )


def test_home_directories_are_expanded_once(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert paths.parse('~', 'x') == str(tmp_path)
    assert paths.parse('~/runs/[x]', 'x') == f'{tmp_path}/runs/[x]'
    assert paths.parse('~root/x', 'x') == os.path.join(pwd.getpwnam('root').pw_dir, 'x')
    literal = paths.parse('./~/x', 'x')
    assert literal == os.path.abspath('./~/x') == paths.parse(literal, 'x')


@pytest.mark.parametrize(
    'text, sentence',
    [
        ('', '--workdir is empty; give a path'),
        ('a\nb', 'has a control character'),
        ('a\x7f', 'has a control character'),
        ('a\u2028b', 'has a control character'),
        ('a\0b', 'has a control character'),
        ('caf\udce9', 'is not UTF-8'),
        ('~nobody_of_this_name/x', 'begins with ~, but there is no such home directory'),
        ('gss://bucket/x', 'has an unknown scheme'),
        ('/gs/x', 'is parsed as the bucket gs://x'),
    ],
)
def test_refuses(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        paths.parse(text, '--workdir')


def test_without_a_home_directory_a_tilde_is_refused(monkeypatch):
    def nobody(_):
        raise KeyError

    monkeypatch.delenv('HOME')
    monkeypatch.setattr(pwd, 'getpwuid', nobody)
    with pytest.raises(ValueError, match='no such home directory'):
        paths.parse('~/runs', '--workdir')


def test_a_bucket_is_no_place_on_a_disk():
    assert paths.parse('gs://bucket/x', '--workdir') == 'gs://bucket/x'
    with pytest.raises(ValueError, match='gs://bucket/x.* is in a bucket'):
        paths.parse_local('gs://bucket/x', '--output')
