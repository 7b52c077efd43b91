"""Heads and networks of self-supervised rules, at any size; used by the configs of each data set."""


def head(*widths: int, **more) -> dict:
    """A projector or predictor of these widths."""
    return dict(name='projector', widths=widths, **more)


def heads(
    hidden: int, out: int, wide: int, prototypes: int, key_norm: str = 'none'
) -> dict[str, dict[str, dict]]:
    """The heads of each method in the form of its paper, by role.

    Args:
      hidden: width of hidden layers.
      out: width of embeddings that are compared by their cosines.
      wide: width of embeddings whose statistics are compared, and of SimSiam's.
      prototypes: outputs of DINO.
      key_norm: batch norm of MoCo's outputs, 'none' in the paper. Without it averaged keys start in almost one
        direction, and a short run stays there: 'plain' ends that (docs/self_supervised.md, the leak of queues).
    """
    pair = dict(projector=head(hidden, out), predictor=head(hidden, out))
    return {
        'simclr': dict(projector=head(hidden, out)),
        'supcon': dict(projector=head(hidden, out)),
        'moco': dict(projector=head(hidden, out, norm='none', last_norm=key_norm)),
        'moco_v3': pair | dict(projector=head(hidden, out, last_norm='plain')),
        'byol': pair,
        'simsiam': dict(
            projector=head(wide, wide, last_norm='plain'), predictor=head(wide // 4, wide)
        ),
        'moby': pair,
        'mobyv2al': dict(projector=head(out, last_norm='affine'), predictor=head(out, last_norm='affine')),
        'vicreg': dict(projector=head(wide, wide, wide, last_bias=False)),
        'barlow_twins': dict(projector=head(wide, wide, wide, last_bias=False)),
        'dino': dict(
            projector=head(
                hidden, hidden, out, activation='gelu', norm='none', prototypes=prototypes
            )
        ),
    }  # fmt: skip


def networks(model: dict, optimizer: dict, heads: dict[str, dict]) -> dict:
    """The section `networks`: trunk and heads with one optimizer.

    SimSiam's predictor, the only one with a bottleneck, has a constant rate, as in its released code.
    """
    found = {'student': dict(model=model, optimizer=optimizer)}
    for role, made in heads.items():
        narrow = role == 'predictor' and made['widths'][0] < made['widths'][-1]
        rate = dict(schedule='constant', warmup_steps=0) if narrow else {}
        found[role] = dict(model=made, optimizer=optimizer | rate)
    return found
