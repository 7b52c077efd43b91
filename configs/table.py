"""The table of all recipes: python -m configs.table > docs/recipes.md"""

from pathlib import Path

from mpl.run import config, config_files

HEAD = """# Recipes

Made by `python -m configs.table > docs/recipes.md`; a test compares it with the configs.

    python -m mpl.train --config=configs/cifar10.py:mpl,labels=250 --workdir=runs/x
    python -m mpl.train --config=configs/cifar10.py:help --workdir=runs/x

The second prints the methods of a config file, their arguments and values, and the lines below.

- *Arguments*: the method first, then KEY=VALUE, separated by commas, in any order. A value with a comma is quoted:
  `"--config=configs/folder.py:uda,path='a,b'"`. A config of your own is a file with `get_config(...)`, whose
  arguments are given in the same way.
- *Where a file is looked for*: in the current folder, then in the project's folder.
- *Overrides*: any value can be set, such as `--config.steps=2000`. Another name of a section, such as
  `--config.source.name=folder --config.source.path=photos`, drops the keys that the new one does not have, and
  another `algorithm.name` the networks that the new algorithm does not use; the command prints what was dropped.
  Keys that both have keep the values that the config file gives.
- *In the table of* `mpl.compare` a run has the name of the file and the arguments given, in the order of the
  method: `digits-mpl,labels=20,feedback=dot`.

*Published* are test accuracies by others; *USB* is its table of three seeds, whose runs report the checkpoint that
is best on test. *Here* is the test accuracy measured with this repository, mean and standard deviation over
seeds, or one seed where there is no deviation. Rows of one file may be of different measurements: compare methods in
[results.md](results.md). Where it is empty, no accuracy of the recipe is recorded (for self-supervised rules see
[self_supervised.md](self_supervised.md)). *Batch* is labeled + unlabeled images in a step.
"""


def text() -> str:
    """The whole page, a table for each config file that has recipes."""
    parts = [HEAD]
    for stem, module in config_files.modules(Path(__file__).parent).items():
        recipes = getattr(module, 'RECIPES', ())
        if not recipes:
            continue
        rows = [_row(f'configs/{stem}.py', recipe) for recipe in recipes]
        headers = ['arguments', 'network', 'steps', 'batch', 'hyperparameters', 'published', 'here']
        parts.append(f'## configs/{stem}.py\n\n{module.__doc__.splitlines()[0]}\n')
        lines = [headers, ['---'] * len(headers), *rows]
        parts.append(''.join(f'| {" | ".join(line)} |\n' for line in lines))
    return '\n'.join(parts)


def _row(file, recipe):
    run = config.load(f'{Path(__file__).parents[1]}/{file}:{recipe.arguments}', [])
    networks = dict.fromkeys(net.model.name for net in run.networks.values())
    sizes = [run.batch.labeled, *[run.batch.unlabeled] * bool(run.batch.unlabeled)]
    return [
        f'`{recipe.arguments}`',
        ', '.join(networks),
        f'{run.steps:,}',
        ' + '.join(f'{size:,}' for size in sizes),
        recipe.source,
        recipe.published,
        recipe.result,
    ]


if __name__ == '__main__':
    print(text(), end='')
