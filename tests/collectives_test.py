"""Collectives are counted as often as they run, in the text of CPU and of TPU programs."""

import textwrap

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mpl.parallel import sharding
from mpl.planning import collectives, hlo

# As the compilers write them, shortened.
CASES = {
    'plain': (
        """
        HloModule m

        ENTRY %main (p: f32[8]) -> f32[8] {
          %p = f32[8]{0} parameter(0)
          ROOT %all-reduce.1 = (f32[8]{0}, bf16[2,3]{1,0}) all-reduce(%p, %q), channel_id=1, replica_groups={{0,1}}, to_apply=%add
        }
        """,
        {'all-reduce': (1, 44)},
    ),
    'a start and its end': (
        """
        ENTRY %main {
          %all-gather-start.1 = (f32[4]{0}, f32[16]{0}) all-gather-start(%p), channel_id=1, dimensions={0}
          %all-gather-done.1 = f32[16]{0} all-gather-done(%all-gather-start.1)
          %cp = (f32[2]{0}, f32[2]{0}, u32[], u32[]) collective-permute-start(%p), channel_id=2, source_target_pairs={{0,1}}
          ROOT %cpd = f32[2]{0:T(128)} collective-permute-done((f32[2]{0}, u32[]) %cp)
        }
        """,
        {'all-gather': (1, 64), 'collective-permute': (1, 8)},
    ),
    'copies in fusions': (
        """
        %async_collective_fusion.1 (p: f32[4]) -> f32[4] {
          %all-reduce.7 = f32[4]{0} all-reduce(%p), channel_id=3, to_apply=%add
        }

        %fused_computation.2 (p: f32[4]) -> f32[4] {
          %all-reduce.8 = f32[4]{0} all-reduce(%p), channel_id=3, to_apply=%add
        }

        ENTRY %main {
          %a = f32[4]{0} fusion(%p), kind=kCustom, calls=%async_collective_fusion.1
          ROOT %b = f32[4]{0} fusion(%p), kind=kCustom, calls=%fused_computation.2
        }
        """,
        {'all-reduce': (1, 16)},
    ),
    'two that share a channel outside of fusions': (
        """
        ENTRY %main {
          %c.1 = f32[4]{0} collective-permute(%p), channel_id=1, source_target_pairs={{0,1}}
          ROOT %c.2 = f32[4]{0} collective-permute(%c.1), channel_id=1, source_target_pairs={{0,1}}
        }
        """,
        {'collective-permute': (2, 32)},
    ),
    'loops, in each other': (
        """
        %inner (t: (s32[], f32[4])) -> (s32[], f32[4]) {
          %r = f32[4]{0} all-reduce(%x), channel_id=1, to_apply=%add
        }

        %inner_condition (t: (s32[], f32[4])) -> pred[] {
          %turns = s32[]{:T(128)} constant(3)
        }

        %outer (t: (s32[], f32[4])) -> (s32[], f32[4]) {
          %w = (s32[], f32[4]{0}) while(%t), condition=%inner_condition, body=%inner
        }

        ENTRY %main {
          ROOT %v = (s32[], f32[4]{0}) while(%t), condition=%c, body=%outer, backend_config={"known_trip_count":{"n":"5"}}
        }
        """,
        {'all-reduce': (15, 240)},
    ),
    'what goes into a reduce-scatter': (
        """
        ENTRY %main {
          %a = f32[4]{0} reduce-scatter(%p), channel_id=1, replica_groups={{0,1,2,3}}, dimensions={0}
          ROOT %b = f32[4]{0} reduce-scatter(%p), channel_id=2, replica_groups=[4,2]<=[8], dimensions={0}
        }
        """,
        {'reduce-scatter': (2, 64 + 32)},
    ),
    'groups along axes of a mesh, and parts of them': (
        """
        ENTRY %main {
          %a = f32[4]{0} reduce-scatter(%p), channel_id=1, replica_groups=mesh['axis_0'=8,'axis_1'=1] {'axis_0'}, use_global_device_ids=true, dimensions={0}
          %b = f32[4]{0} reduce-scatter(%p), channel_id=2, replica_groups=mesh['data'=2,'model'=4] {'data','model'}, dimensions={0}
          %c = f32[4]{0} reduce-scatter(%p), channel_id=3, replica_groups=mesh['data'=2,'model'=4], device_ids=(0,2,4,6,1,3,5,7) {'model':(1)2}, dimensions={0}
          %s = ((f32[8]{0}), f32[4]{0}) reduce-scatter-start(%p), channel_id=4, replica_groups=mesh['data'=2,'model'=4] {'data'}, dimensions={0}
          ROOT %d = f32[4]{0} reduce-scatter-done(%s)
        }
        """,
        {'reduce-scatter': (4, 16 * (8 + 8 + 2 + 2))},
    ),
    'none': ('ENTRY %main {\n  ROOT %p = f32[4]{0} parameter(0)\n}\n', {}),
}


@pytest.mark.parametrize('case', CASES)
def test_counts(case):
    text, want = CASES[case]
    assert collectives.count(hlo.parse(textwrap.dedent(text))) == want


@pytest.mark.parametrize('groups', ['ring(8)', '{}'])
def test_groups_in_an_unknown_form_are_said(groups, monkeypatch):
    text, said = CASES['plain'][0], []
    text = text.replace('all-reduce', 'reduce-scatter').replace('{{0,1}}', groups)
    monkeypatch.setattr(
        collectives.logging, 'warning', lambda form, *values: said.append(form % values)
    )
    assert collectives.count(hlo.parse(textwrap.dedent(text))) == {'reduce-scatter': (1, 44)}
    assert len(said) == 1 and f'unknown (replica_groups={groups}' in said[0]


def test_counts_of_a_compiled_program(fast_compile):
    """A sum over devices in a loop of 4, and one after it."""
    mesh = sharding.make_mesh(jax.devices())

    def total(x):
        def turn(carry, _):
            return carry + jax.lax.psum(x * carry, 'data'), None

        carry, _ = jax.lax.scan(turn, jnp.zeros(2), None, length=4)
        return jax.lax.pmax(carry, 'data')

    program = jax.shard_map(
        total, mesh=mesh, in_specs=PartitionSpec('data'), out_specs=PartitionSpec(), check_vma=False
    )
    x = jax.ShapeDtypeStruct(
        (16,), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec('data'))
    )
    text = jax.jit(program).lower(x).compile().as_text()
    assert collectives.count(hlo.parse(text)) == {'all-reduce': (5, 40)}
