"""What PyTorch's sides of the comparisons share. Knows no jax."""

import os

import torch

MOMENTUM = 0.9


def make_run(make_learner, arrays, steps):
    """For timing: a function that takes some steps, all done when it returns; the device; its peak memory.

    make_learner: (device) -> a learner, whose `step` takes the arrays as `place` returns them.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True  # as XLA does
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    learner, placed = make_learner(device), place(arrays, device)

    def run():
        for _ in range(steps):
            learner.step(placed)
        if device == 'cuda':
            torch.cuda.synchronize()

    return run, torch.cuda.get_device_name() if device == 'cuda' else 'cpu', peak_memory


def peak_memory():
    """Bytes on the GPU since its process began, or None without one."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def place(arrays, device):
    """Images [B, H, W, C] as torch wants them: [B, C, H, W] over the same bytes; labels as int64."""
    return [
        torch.from_numpy(part).to(device).permute(0, 3, 1, 2)
        if part.ndim == 4
        else torch.from_numpy(part).long().to(device)
        for part in arrays
    ]


def make_optimizer(parameters, learning_rate, weight_decay):
    """Nesterov SGD with decay of the kernels."""
    parameters = list(parameters)
    return torch.optim.SGD(
        [
            {'params': [p for p in parameters if p.ndim > 1], 'weight_decay': weight_decay},
            {'params': [p for p in parameters if p.ndim == 1]},
        ],
        learning_rate,
        MOMENTUM,
        nesterov=True,
        foreach=True,
    )


def load(networks, before):
    """Gives the networks the arrays by role that our side began with."""
    for role, net in networks.items():
        state = {name: torch.tensor(array) for name, array in before[role].items()}
        missing, unexpected = net.load_state_dict(state, strict=False)
        if unexpected or not all(name.endswith('num_batches_tracked') for name in missing):
            raise ValueError(f'The networks differ in {missing + unexpected}.')


def read(networks):
    """The networks' arrays, by role and name."""
    return {
        role: {name: array.numpy() for name, array in net.state_dict().items()}
        for role, net in networks.items()
    }
