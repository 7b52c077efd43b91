"""The table of all recipes: python -m configs.table > docs/recipes.md"""

from pathlib import Path

from mpl.run import config, config_files

HEAD = """# Recipes

Made by `python -m configs.table > docs/recipes.md`; a test compares it with the configs.

Run one with `python -m mpl.train --config=configs/cifar10.py:mpl,labels=250 --workdir=runs/x`.
`--config=configs/cifar10.py:help` prints the arguments of a file, their values and these lines; any value
of a config can also be set by `--config.KEY=VALUE`. Published are test accuracies by others; *USB* is its
table of three seeds, whose runs report the checkpoint that is best on test. *Here* is the test accuracy
measured with this repository: mean and standard deviation over seeds. Where it is empty the recipe has not been
run here.
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
