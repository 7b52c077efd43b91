"""Probes the features of a finished run: python -m mpl.probe --workdir=runs/x --labels 40 all

Weighted nearest neighbors, a linear classifier and, with --probes finetune, fine-tuning, each given the
labels of --labels, beside the network before training and raw pixels. Values with several choices are
chosen on validation, the test is measured once. The table is kept in <workdir>/probes/; the same
command prints it again.

--layer=stage_1 takes the outputs of another layer than the last one; --layer=help names them all.
"""

from etils import epath

from mpl.run import command, evaluation, probe_features, probe_settings, probing


def make_parser():
    parser = command.parser(__doc__)
    parser.add_argument(
        '--workdir', required=True, type=command.path, help='folder of a finished run'
    )
    default = probe_settings.Settings()
    parser.add_argument('--network', default=default.network, help='name in the report')
    parser.add_argument('--layer', default=default.layer, help="'features', a layer, or 'help'")
    parser.add_argument(
        '--grid', type=int, default=default.grid, help='average feature maps over GRID x GRID cells'
    )
    parser.add_argument('--labels', nargs='+', default=default.labels, help=probe_settings.LABELS)
    parser.add_argument(
        '--probes',
        nargs='+',
        default=default.probes,
        help=f'some of {", ".join(probe_settings.PROBES)}',
    )
    parser.add_argument(
        '--neighbors', nargs='+', type=int, default=default.neighbors, help='to choose from'
    )
    parser.add_argument(
        '--temperature', type=float, default=default.temperature, help='of their weights'
    )
    parser.add_argument(
        '--decays',
        nargs='+',
        type=float,
        default=default.decays,
        help='L2 penalties of the linear classifier, to choose from',
    )
    parser.add_argument('--steps', type=int, default=default.steps, help='of fine-tuning')
    parser.add_argument(
        '--batch', type=int, default=default.batch, help='images per step of fine-tuning'
    )
    parser.add_argument(
        '--rates',
        nargs='+',
        type=float,
        default=default.rates,
        help='learning rates of fine-tuning, to choose from',
    )
    return parser


def main():
    given, overrides = command.parse(make_parser())
    if overrides:
        raise ValueError(f'{overrides[0]} is not allowed here: the config is that of the run.')
    workdir = epath.Path(given.workdir)
    if given.layer == 'help':
        stage, inner = evaluation.find_network(given.network, evaluation.load(workdir))
        for name, shape in probe_features.layer_shapes(stage.experiment, inner).items():
            print(f'{name}: {" x ".join(map(str, shape[1:]))}')
        return
    values = {name: getattr(given, name) for name in probe_settings.Settings._fields}
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    print(probing.show(probing.run(workdir, probe_settings.Settings(**values))))


if __name__ == '__main__':
    command.main(main)
