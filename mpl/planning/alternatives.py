"""Changes of a config that reduce its memory, for a run that does not fit."""

from ml_collections import ConfigDict

from mpl.planning import chips, footprint
from mpl.run import config as configs


def find(
    config: ConfigDict, topology: str, plan: dict, search: bool, groups: int, examples: int
) -> list[dict]:
    """Changes of the config that may make it fit, the cheapest first.

    Estimates of the memory beside the state are constant, or proportional to the batch. Sharding
    images over more devices does not change it, since each group then has more images.

    Args:
      config: of the run.
      topology: of the slice.
      plan: of the unchanged config.
      search: whether to compile each in turn until one fits.
      groups, examples: as of `footprint.make`.
    """
    memory, mesh, found = plan['memory'], plan['mesh'], []
    rest = memory['peak'] - memory['state']
    devices = chips.devices(topology)
    whole = footprint.assemble(config, devices, examples)

    def add(changes, peak):
        found.append({'changes': changes, 'peak': peak, 'compiled': False, 'refused': None})

    bare = [r for r, n in config.networks.items() if n.model.get('remat') is False]
    if bare:
        add({f'networks.{role}.model.remat': True for role in bare}, None)
    for model in (mesh['model'], 2 * mesh['model']):
        of_slice = len(devices) // model
        if len(devices) % model or any(size % of_slice for size in plan['batch'].values()):
            continue
        for weights in ('whole', 'model', 'data'):
            state = footprint.state_bytes(whole, model, weights)
            if state < memory['state'] and (weights != 'model' or model > 1):
                changed = {'mesh.model': model, 'mesh.weights': weights}
                kept = {'mesh.model': mesh['model'], 'mesh.weights': mesh['weights']}
                add({k: v for k, v in changed.items() if v != kept[k]}, state + rest)
    share, even = (memory['limit'] - memory['state']) / rest, mesh['data']
    smaller = {key: int(share * size / even) * even for key, size in plan['batch'].items()}
    if all(smaller[key] > 0 for key, size in plan['batch'].items() if size):
        left = max(smaller[key] / size for key, size in plan['batch'].items() if size)
        changes = {f'batch.{key}': size for key, size in smaller.items()}
        add(changes, memory['state'] + round(rest * left))
    for entry in found if search else ():
        changed = configs.override(config, overrides(entry))
        few = min(groups, len(devices) // changed.mesh.model)
        try:
            tried = footprint.make(changed, topology, few, examples)
        except ValueError as refusal:  # Such as images that cannot be sharded so.
            entry['refused'] = str(refusal)
            continue
        entry |= {'peak': tried['memory']['peak'], 'compiled': True}
        if tried['fits']:
            break
    return found


def overrides(entry: dict) -> list[str]:
    """The changes of an alternative as arguments of the command line."""
    return [f'--config.{key}={value}' for key, value in entry['changes'].items()]
