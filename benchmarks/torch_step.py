"""A step of Meta Pseudo Labels in plain PyTorch, the other side of torch_mpl.py. Knows no jax."""

import contextlib
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call

from benchmarks import torch_side
from benchmarks.torch_side import MOMENTUM

NORM_MOMENTUM = 0.01


class Activate(nn.Module):
    """Batch norm and leaky ReLU of .2; the ReLU writes over the norm's output, which nobody keeps."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=NORM_MOMENTUM)

    def forward(self, x):
        return F.leaky_relu(self.norm(x), 0.2, inplace=True)


class Block(nn.Module):
    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.activate_0, self.activate_1 = Activate(channels_in), Activate(channels)
        self.conv_0 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.conv_1 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.shortcut = None
        if channels_in != channels or stride != 1:
            self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x):
        y = self.activate_0(x)
        if self.shortcut is not None:
            x = self.shortcut(y)
        # With stride 2, 'SAME' pads the end of even sizes only; torch's Conv2d pads both ends.
        conv = self.conv_0
        if conv.stride[0] == 2:
            y = F.conv2d(F.pad(y, (0, 1, 0, 1)), conv.weight, stride=2)
        else:
            y = conv(y)
        return x + self.conv_1(self.activate_1(y))


class WideResNet(nn.Module):
    """WRN as mpl.models.wide_resnet has it, with the same names of layers; images of even size."""

    def __init__(self, depth, width, num_classes=10):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        channels_in, self.blocks = 16, []
        for group in range(3):
            for i in range((depth - 4) // 6):
                channels = 16 * width * 2**group
                self.blocks.append(f'group_{group}_block_{i}')
                stride = 2 if group > 0 and i == 0 else 1
                self.add_module(self.blocks[-1], Block(channels_in, channels, stride))
                channels_in = channels
        self.activate = Activate(channels_in)
        self.head = nn.ModuleDict({'dense': nn.Linear(channels_in, num_classes)})

    def forward(self, x):
        x = self.stem(x)
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        return self.head['dense'](self.activate(x).float().mean((2, 3)))


class Learner:
    """Both networks and what training keeps of them; `step` changes it in place.

    rule: as torch_mpl.RULE has it, with its feedback; every name is one of mpl.algorithms.mpl.make
    or of an optimizer. compile: a mode of torch.compile, or '' for none.
    """

    def __init__(self, rule, depth, width, device='cpu', dtype='float32', compile=''):
        self.rule = SimpleNamespace(**rule)
        self.teacher, self.student, self.ema = (
            WideResNet(depth, width).to(device, memory_format=torch.channels_last) for _ in range(3)
        )
        self.ema.load_state_dict(self.student.state_dict())
        self.optimizers = [
            torch_side.make_optimizer(
                net.parameters(), self.rule.learning_rate, self.rule.weight_decay
            )
            for net in (self.teacher, self.student)
        ]
        self.baseline, self.steps = torch.zeros((), device=device), 0
        self.autocast = torch.autocast(device, torch.bfloat16, enabled=dtype == 'bfloat16')
        if compile:
            self.teacher.compile(mode=compile)
            self.student.compile(mode=compile)

    def step(self, batch, noise=None):
        """One step. noise: Gumbel noise that draws the labels; drawn here where None."""
        rule = self.rule
        image, label, weak, strong = batch
        with self.autocast:
            logits = self.teacher(torch.cat([image, weak, strong])).float()
        logits = logits.split([len(image), len(weak), len(strong)])
        target = self.choose_labels(logits[2].detach(), noise)
        smoothed = (1 - rule.label_smoothing) * target + rule.label_smoothing / target.shape[-1]

        with self.autocast:
            said = self.student(strong).float()
        if rule.feedback == 'difference':
            before = self.labeled_loss(image, label)
        student_loss = -(smoothed * F.log_softmax(said, -1)).sum(-1).mean()
        old = {k: p.detach().clone() for k, p in self.student.named_parameters()}
        student_loss.backward()
        self.optimizers[1].step()
        self.optimizers[1].zero_grad(set_to_none=True)
        self.average()

        teacher_loss, metrics = self.teacher_loss(logits, label)
        guess = F.log_softmax(logits[2], -1)
        if rule.feedback == 'exact':
            after, gain = self.gain(old, strong, image, label)
            h = (target * gain).sum(-1).mean()
            teacher_loss -= rule.feedback_weight * (guess.exp() * gain).sum(-1).mean()
        else:
            after = self.labeled_loss(image, label)
            h = before - after
            credit = h - self.baseline
            teacher_loss -= rule.feedback_weight * credit * (target * guess).sum(-1).mean()
        self.baseline.lerp_(h, 1 - rule.baseline_decay)
        teacher_loss.backward()
        self.optimizers[0].step()
        self.optimizers[0].zero_grad(set_to_none=True)
        self.steps += 1
        return metrics | {
            'loss/student': student_loss.detach(),
            'loss/student_labeled': after,
            'feedback/h': h,
        }

    def choose_labels(self, logits, noise):
        if self.rule.feedback == 'exact':
            return logits.softmax(-1)
        if noise is None:
            noise = -torch.empty_like(logits).exponential_().log()
        return F.one_hot((logits + noise).argmax(-1), logits.shape[-1]).float()

    def teacher_loss(self, logits, label):
        rule = self.rule
        supervised = F.cross_entropy(logits[0], label, label_smoothing=rule.label_smoothing)
        sharpened = (logits[1].detach() / rule.uda_temperature).softmax(-1)
        mask = (sharpened.amax(-1) >= rule.uda_threshold).float()
        unlabeled = -(mask * (sharpened * F.log_softmax(logits[2], -1)).sum(-1)).mean()
        return supervised + rule.uda_weight * unlabeled, {
            'loss/teacher_labeled': supervised.detach(),
            'loss/teacher_unlabeled': unlabeled.detach(),
        }

    @torch.no_grad()
    def labeled_loss(self, image, label):
        with self.autocast, fixed_statistics(self.student):
            return F.cross_entropy(self.student(image).float(), label)

    def gain(self, old, strong, image, label):
        """The labeled loss after the step, and what each label of each image would gain.

        One pass in forward mode at the old weights. Torch has no jax.linearize, which would keep
        what the plain pass has computed: it is computed once more.
        """
        params = dict(self.student.named_parameters())
        with fixed_statistics(self.student):
            with self.autocast:
                loss = F.cross_entropy(self.student(image).float(), label)
            slope = torch.autograd.grad(loss, list(params.values()))
            scale = -self.rule.learning_rate * (1 + MOMENTUM)  # of a gradient, with Nesterov
            with torch.no_grad(), self.autocast, forward_ad.dual_level():
                dual = {
                    name: forward_ad.make_dual(old[name], scale * s)
                    for name, s in zip(params, slope)
                }
                said = functional_call(self.student, dual, strong).float()
                tangent = forward_ad.unpack_dual(F.log_softmax(said, -1)).tangent
        return loss.detach(), (1 - self.rule.label_smoothing) * tangent

    def average(self):
        decay = min(self.rule.ema_decay, (1 + self.steps) / (10 + self.steps))
        new, old = self.student.state_dict(), self.ema.state_dict()
        names = [name for name, value in new.items() if value.is_floating_point()]
        torch._foreach_lerp_([old[n] for n in names], [new[n] for n in names], 1 - decay)


@contextlib.contextmanager
def fixed_statistics(net):
    """Passes in training mode that leave the running statistics as they are."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 0.0
    yield
    for norm in norms:
        norm.momentum = NORM_MOMENTUM


def check(rule, depth, width, batch, ours):
    """As many steps as our side took, in float32 on the CPU, from its weights and with its noise.

    Returns:
      The metrics of each step, and the arrays of each network after the last, by name.
    """
    torch.set_num_threads(1)  # More would wait for each other longer than they work.
    learner = Learner(rule, depth, width)
    nets = {'teacher': learner.teacher, 'student': learner.student, 'student_ema': learner.ema}
    torch_side.load(nets, ours['before'])
    placed = torch_side.place(batch, 'cpu')
    metrics = [learner.step(placed, torch.tensor(noise)) for noise in ours['noises']]
    return {
        'metrics': [{name: float(value) for name, value in line.items()} for line in metrics],
        'after': torch_side.read(nets),
    }


def make_run(rule, depth, width, batch, dtype, compile, steps):
    """See torch_side.make_run."""

    def make_learner(device):
        return Learner(rule, depth, width, device, dtype, compile)

    return torch_side.make_run(make_learner, batch, steps)
