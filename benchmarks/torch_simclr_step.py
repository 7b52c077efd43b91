"""A step of SimCLR with the fast network in plain PyTorch, the other side of torch_simclr.py. Knows no jax."""

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import torch_side


class Shift(nn.BatchNorm2d):
    """Batch norm with a bias and no scale."""

    def __init__(self, channels):
        super().__init__(channels)
        self.weight = None


class Trunk(nn.Module):
    """mpl.models.fast_cnn without its head, with the same names of layers."""

    def __init__(self, channels, colors=3):
        super().__init__()
        before = 8 * colors
        self.whitening = nn.Conv2d(colors, before, 2)
        self.whitening.weight.requires_grad_(False)
        for i, width in enumerate(channels):
            stage = nn.ModuleDict()
            for j in range(2):
                stage[f'conv_{j}'] = nn.Conv2d(before, width, 3, padding=1, bias=False)
                stage[f'norm_{j}'] = Shift(width)
                before = width
            self.add_module(f'stage_{i}', stage)
        self.stages = len(channels)

    def forward(self, x):
        x = F.gelu(self.whitening(F.pad(x, (0, 1, 0, 1))), approximate='tanh')
        for i in range(self.stages):
            stage = self.get_submodule(f'stage_{i}')
            x = stage['norm_0'](F.max_pool2d(stage['conv_0'](x), 2))
            x = stage['norm_1'](stage['conv_1'](F.gelu(x, approximate='tanh')))
            x = F.gelu(x, approximate='tanh')
        return x.amax((2, 3))


class Projector(nn.Module):
    def __init__(self, features, widths):
        super().__init__()
        hidden, out = widths
        self.dense_0 = nn.Linear(features, hidden, bias=False)
        self.norm_0 = nn.BatchNorm1d(hidden)
        self.dense_1 = nn.Linear(hidden, out)

    def forward(self, x):
        return self.dense_1(F.relu(self.norm_0(self.dense_0(x))))


class Learner:
    """Both networks and their optimizer; `step` changes them in place."""

    def __init__(self, rule, device='cpu'):
        self.temperature = rule['temperature']
        trunk = Trunk(rule['channels']).to(device, memory_format=torch.channels_last)
        projector = Projector(rule['channels'][-1], rule['widths']).to(device)
        self.networks = {'student': trunk, 'projector': projector}
        trained = [p for net in self.networks.values() for p in net.parameters() if p.requires_grad]
        self.optimizer = torch_side.make_optimizer(
            trained, rule['learning_rate'], rule['weight_decay']
        )

    def step(self, views):
        features = self.networks['student'](torch.cat(views))
        z = F.normalize(self.networks['projector'](features))
        logits = z @ z.T / self.temperature
        logits.fill_diagonal_(-torch.inf)
        half = len(views[0])
        other = torch.arange(2 * half, device=z.device).roll(half)
        loss = F.cross_entropy(logits, other)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


def check(rule, views, ours):
    """As many steps on the CPU as our side took, from its weights; metrics and arrays as torch_step.check."""
    torch.set_num_threads(1)  # More would wait for each other longer than they work.
    learner = Learner(rule)
    torch_side.load(learner.networks, ours['before'])
    placed = torch_side.place(views, 'cpu')
    metrics = [{'loss': float(learner.step(placed))} for _ in ours['metrics']]
    return {'metrics': metrics, 'after': torch_side.read(learner.networks)}


def make_run(rule, views, steps):
    """See torch_side.make_run."""
    return torch_side.make_run(lambda device: Learner(rule, device), views, steps)
