"""Writes a network of a finished run for others, who need neither this project nor its data:
python -m mpl.export --workdir=runs/x --to=stablehlo

--to=stablehlo: a program for CPUs, CUDA GPUs and TPUs that jax runs alone. --to=onnx: a graph for
onnxruntime; needs launch/requirements-onnx.txt. Both take images [B, H, W, C] as uint8 and give
logits [B, K]; standardization is inside. --to=safetensors: weights with timm's names, and the
config.json for timm's create_model.

Beside the file, by default runs/x/export/<network>/model.<format>, are its record <file>.json (class
names, input, SHA-256, provenance) and model_card.md. The file is run and compared with the network
before it is written. mpl.predict --model=FILE --images=folder runs it.
"""

from pathlib import Path

from etils import epath

from mpl.exports import card, files, interface, model
from mpl.run import command, evaluation


def main():
    parser = command.parser(__doc__)
    parser.add_argument(
        '--workdir', required=True, type=command.local_path, help='folder of a finished run'
    )
    parser.add_argument('--to', required=True, help=f'one of {", ".join(interface.names())}')
    parser.add_argument('--network', help='default: finetuned, student_ema or student')
    parser.add_argument('--output', type=command.local_path, help='file to write')
    parser.add_argument(
        '--license', default='unknown', help='of the weights, for the card; default: unknown'
    )
    given, overrides = command.parse(parser)
    if overrides:
        raise ValueError(f'{overrides[0]} is not allowed here: the config is that of the run.')
    suffix = interface.find(given.to).suffix
    if given.output:
        evaluation.check_output(given.output)
        if Path(given.output).suffix != suffix:
            raise ValueError(
                f'--output is {given.output}; give a file *{suffix} for --to={given.to}.'
            )
    workdir = epath.Path(given.workdir)
    trained = model.read(workdir, given.network)
    name = trained.description['network']
    output = Path(given.output or workdir / 'export' / name / f'model{suffix}')
    written = files.write(trained, given.to, output)
    written.append(card.write(trained.description, workdir, given.license, output.parent))
    print(f'{name} of {given.workdir}: {", ".join(map(str, written))}')


if __name__ == '__main__':
    command.main(main)
