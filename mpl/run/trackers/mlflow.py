"""MLflow: a file store in <folder>/mlruns, or the store of MLFLOW_TRACKING_URI."""

import json
import os

from etils import epath

from mpl.run.trackers.interface import Tracker, local

PACKAGES = ('mlflow',)
EXPERIMENT = 'mpl'


def make(folder: epath.Path, step: int, config: dict) -> Tracker:
    """A run that is named after the folder and resumed by its path; the config is an artifact."""
    os.environ.setdefault('MLFLOW_ALLOW_FILE_STORE', 'true')
    import mlflow

    place = local(folder)
    store = os.environ.get('MLFLOW_TRACKING_URI', f'file://{place}/mlruns')
    client = mlflow.MlflowClient(store)
    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
    runs = [
        run for run in client.search_runs([experiment]) if run.data.tags.get('mpl.workdir') == place
    ]
    if runs:
        run = runs[0].info.run_id
        client.update_run(run, 'RUNNING')
    else:
        tags = {'mpl.workdir': place}
        run = client.create_run(experiment, run_name=folder.name, tags=tags).info.run_id
        client.log_text(run, json.dumps(config, indent=2), 'config.json')

    def write(step, values):
        for name, value in values.items():
            client.log_metric(run, name, value, step=step)

    return Tracker(write, lambda: client.set_terminated(run))
