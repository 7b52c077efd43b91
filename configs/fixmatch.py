"""The hyperparameters of the released code of FixMatch (arXiv 2001.07685), and of the methods beside it in later suites.

Its protocol, also that of TorchSSL and USB: 2^20 steps of 64 labeled images, SGD at 0.03 with Nesterov
momentum 0.9 and a part of a cosine as schedule, weight decay 5e-4, and an average of the weights with
decay 0.999. Methods with weak and strong views have 7 unlabeled images per labeled one; those with weak
views alone have 1, and loss weights that rise over 40 % of the run.

Differences: the network's details, strong views, shifts and precision are those of this repository's
other recipes for the same data (FixMatch samples the magnitude of RandAugment per image); batch norm
statistics are over labeled and unlabeled images together for all methods; the ramps of Pi-model and
mean teacher are their papers' Gaussian; VAT, which has Adam in the FixMatch code, has SGD as in USB.
"""

from . import recipes

STEPS = 2**20
RAMP = round(0.4 * STEPS)
ALGORITHMS = {
    'pseudo_label': dict(threshold=0.95, ramp_steps=RAMP),
    'pi_model': dict(weight=10.0, ramp_steps=RAMP),
    # Weight, memory and ramp (80 of 300 epochs) are its paper's (arXiv 1610.02242), recalled.
    'temporal_ensembling': dict(weight=30.0, memory_decay=0.6, ramp_steps=round(80 / 300 * STEPS)),
    'mean_teacher': dict(weight=50.0, ramp_steps=RAMP),
    'vat': dict(weight=0.3, entropy_weight=0.06, ramp_steps=RAMP),
    'fixmatch': dict(weight=1.0, threshold=0.95),
    # From their configs in USB. USB caps FreeMatch's threshold at 0.95 on SVHN; this is not done here.
    'flexmatch': dict(weight=1.0, threshold=0.95),
    'freematch': dict(weight=1.0, fairness_weight=0.001, memory_decay=0.999),
    'softmatch': dict(weight=1.0, deviations=2.0, memory_decay=0.999),
}
STRONG = ('fixmatch', 'flexmatch', 'freematch', 'softmatch')


def config(data: dict, method: str):
    """The config of one of ALGORITHMS; data: as in recipes.config."""
    strong = method in STRONG
    algorithm = dict(name=method, ema_decay=0.999) | ALGORITHMS[method]
    if method == 'vat':
        algorithm['radius'] = radius(data['views']['std'])
    if strong or method == 'pi_model':
        algorithm['target_pass'] = 'joined'
    if not strong:  # The second view of an image is another weak one.
        views = data['views'] | dict(strong=dict(name='identity'), strong_geometry='own')
        data = data | dict(views=views)
    return recipes.config(
        data,
        algorithm,
        dict(
            student=dict(name='sgd', learning_rate=0.03, schedule='cosine_part', weight_decay=5e-4)
        ),
        STEPS,
        labeled=64,
        unlabeled=7 * 64 if strong else 64,
    )


def radius(std: float | tuple[float, ...]) -> float:
    """The radius of VAT for views with this standard deviation: 6 for pixels between -1 and 1."""
    channels = std if isinstance(std, tuple) else (std,)
    return round(6.0 * 127.5 * len(channels) / sum(channels), 2)
