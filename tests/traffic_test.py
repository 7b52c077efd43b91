"""Bytes are those that instructions read and write, as often as they run."""

import textwrap

import jax
import jax.numpy as jnp
import pytest

from mpl.planning import hlo, traffic

# As the compilers write them, shortened; 4 bytes in each number.
CASES = {
    'each reads its operands and writes its result': (
        """
        ENTRY %main (p: f32[8]) -> f32[8] {
          %p = f32[8]{0} parameter(0)
          %q = bf16[8]{0} parameter(1)
          %b = f32[2,4]{1,0} bitcast(%p)
          ROOT %a = f32[8]{0} add(%p, %q)
        }
        """,
        32 + 16 + 32,
    ),
    'what is fused stays inside': (
        """
        %fused (x: f32[8]) -> f32[] {
          %x = f32[8]{0} parameter(0)
          %big = f32[8,100]{1,0} broadcast(%x), dimensions={0}
          ROOT %r = f32[]{:T(128)} reduce(%big, %zero), to_apply=%add
        }

        ENTRY %main {
          %p = f32[8]{0} parameter(0)
          ROOT %f = f32[] fusion(%p), kind=kLoop, calls=%fused
        }
        """,
        32 + 4,
    ),
    'tiles are whole': (
        """
        ENTRY %main {
          %p = f32[3,9,200]{2,1,0:T(8,128)} parameter(0)
          ROOT %t = f32[3,9,200]{0,1,2:T(8,128)(2,1)} copy(%p)
        }
        """,
        4 * (3 * 16 * 256 + 128 * 16 * 200),
    ),
    'memory on the chip is free': (
        """
        ENTRY %main {
          %p = f32[8]{0} parameter(0)
          %c = (f32[8]{0:S(1)}, f32[8]{0}, u32[]{:S(2)}) copy-start(%p)
          %d = f32[8]{0:S(1)} copy-done(%c)
          %s = ((f32[8]{0}), f32[2]{0:S(1)}, s32[]{:S(2)}) slice-start(%p), slice={[0:2]}
          %e = f32[2]{0:S(1)} slice-done(%s)
          ROOT %t = f32[8]{0} add(%d, %e)
        }
        """,
        32 + 8 + 32,
    ),
    'of slices, what they take and set; loops by their turns': (
        """
        %fused (stack: f32[100,8], at: s32[]) -> f32[100,8] {
          %stack = f32[100,8]{1,0} parameter(0)
          %at = s32[] parameter(1)
          %same = f32[100,8]{1,0} bitcast(%stack)
          %s = f32[1,8]{1,0} dynamic-slice(%same, %at, %at), dynamic_slice_sizes={1,8}
          %n = f32[1,8]{1,0} negate(%s)
          ROOT %u = f32[100,8]{1,0} dynamic-update-slice(%stack, %n, %at, %at)
        }

        %body (t: (s32[], f32[100,8])) -> (s32[], f32[100,8]) {
          %t = (s32[], f32[100,8]{1,0}) parameter(0)
          %i = s32[] get-tuple-element(%t), index=0
          %x = f32[100,8]{1,0} get-tuple-element(%t), index=1
          %f = f32[100,8]{1,0} fusion(%x, %i), kind=kLoop, calls=%fused
          ROOT %r = (s32[], f32[100,8]{1,0}) tuple(%i, %f)
        }

        ENTRY %main {
          ROOT %w = (s32[], f32[100,8]{1,0}) while(%p), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"5"}}
        }
        """,
        5 * (32 + 32 + 4),
    ),
    'a slice beside a sum reads all': (
        """
        %fused (x: f32[8]) -> (f32[1], f32[]) {
          %x = f32[8]{0} parameter(0)
          %s = f32[1]{0} slice(%x), slice={[0:1]}
          %r = f32[] reduce(%x, %zero), dimensions={0}, to_apply=%add
          ROOT %both = (f32[1]{0}, f32[]) tuple(%s, %r)
        }

        ENTRY %main {
          %p = f32[8]{0} parameter(0)
          ROOT %f = (f32[1]{0}, f32[]) fusion(%p), kind=kLoop, calls=%fused
        }
        """,
        32 + 4 + 4,
    ),
    'a collective, begun and ended': (
        """
        ENTRY %main {
          %p = f32[4]{0} parameter(0)
          %g = (f32[4]{0}, f32[16]{0}) all-gather-start(%p), channel_id=1, dimensions={0}
          %h = f32[16]{0} all-gather-done(%g)
          ROOT %r = f32[4]{0} all-reduce-start(%p), channel_id=2, to_apply=%add
        }
        """,
        16 + 64 + 16 + 16,
    ),
}


@pytest.mark.parametrize('case', CASES)
def test_counts(case):
    text, want = CASES[case]
    assert traffic.count(hlo.parse(textwrap.dedent(text))) == want


def test_counts_of_a_compiled_program(fast_compile):
    """A row of a table in each turn of a loop, and a sum of two arrays."""

    def total(table, x, y):
        def turn(carry, row):
            return jnp.sin(carry * row), None

        carry, _ = jax.lax.scan(turn, x, table)
        return carry, x + y

    table, x = jnp.zeros((50, 4096)), jnp.zeros(4096)
    text = jax.jit(total).lower(table, x, x).compile().as_text()
    row = x.size * 4
    least = 50 * 3 * row + 3 * row  # Each turn reads the carry and its row.
    assert least <= traffic.count(hlo.parse(text)) <= least + 10 * row
