"""Pre-training on the built-in MNIST subset by PyTorch, torchvision and LightlySSL, from pictures to a probe: the same jobs as
pipelines/barlow_twins.ssl, simclr.ssl and byol.ssl, with the same views, nets, batches and epochs.

    python end_to_end.py --method simclr --epochs 20

Both layouts and loader workers 0, 1 and 2 are tried for an epoch each, unless `--settings` names one; the best trains.
The time is that of the training, with its loader and without starting the program.
"""

import argparse
import copy
import json
import math
import time

import torch
from barlow_twins import MNIST, Noise, conv_net, probe, rate, split
from common import follow, mlp
from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity, NTXentLoss
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2


def views(method):
    least = 0.5 if method == "simclr" else 0.6
    common = [
        v2.RandomResizedCrop(14, scale=(least, 1.0), antialias=True),
        v2.RandomRotation(15, interpolation=InterpolationMode.BILINEAR),
    ]
    blur = v2.GaussianBlur(7, sigma=(0.1, 1.0))
    if method == "simclr":
        augment = v2.Compose([*common, v2.RandomApply([blur], p=0.5)])
        return augment, augment
    return v2.Compose([*common, blur]), v2.Compose([*common, v2.RandomApply([Noise()], p=0.5)])


class TwoViews(Dataset):
    def __init__(self, images, method):
        self.images = images
        self.left, self.right = views(method)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.left(self.images[i]), self.right(self.images[i])


class Two(nn.Module):
    """Barlow Twins and SimCLR: both views through one net."""

    def __init__(self, backbone, head, criterion):
        super().__init__()
        self.net, self.criterion = nn.Sequential(backbone, head), criterion
        self.weights = list(self.net.parameters())

    def forward(self, a, b):
        return self.criterion(self.net(a), self.net(b))

    def after(self, progress):
        pass


class Byol(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.student, self.predictor = nn.Sequential(backbone, mlp(128, [256, 128])), mlp(128, [256, 128])
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.criterion = NegativeCosineSimilarity()
        self.weights = [*self.student.parameters(), *self.predictor.parameters()]

    def forward(self, a, b):
        p = self.predictor(self.student(a)), self.predictor(self.student(b))
        with torch.no_grad():
            t = self.teacher(b), self.teacher(a)
        return self.criterion(p[0], t[0]) + self.criterion(p[1], t[1])

    @torch.no_grad()
    def after(self, progress):
        keep = 1.0 - 0.02 * (1 + math.cos(math.pi * progress)) / 2
        follow(list(self.teacher.parameters()), list(self.student.parameters()), keep)
        torch._foreach_copy_(list(self.teacher.buffers()), list(self.student.buffers()))


METHODS = {
    "barlow_twins": (lambda net: Two(net, mlp(128, [256] * 3, bias=False), BarlowTwinsLoss(lambda_param=5e-3)), 1e-3, 1e-6),
    "simclr": (lambda net: Two(net, mlp(128, [128, 64]), NTXentLoss(temperature=0.5)), 1e-3, 1e-4),
    "byol": (Byol, 2e-3, 1e-4),
}


def train(images, options, layout, workers, epochs):
    """Seconds of the training and the trained backbone."""
    torch.manual_seed(options.seed)
    make, top, decay = METHODS[options.method]
    backbone = conv_net()
    task = make(backbone).to(memory_format=layout).train()
    loader = DataLoader(
        TwoViews(images, options.method),
        options.batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    optimiser = torch.optim.AdamW(task.weights, lr=top, weight_decay=decay, fused=True)
    total, step = epochs * len(loader), 0
    begun = time.perf_counter()
    for _ in range(epochs):
        for a, b in loader:
            for group in optimiser.param_groups:
                group["lr"] = rate(step, len(loader), total, top)
            loss = task(a.contiguous(memory_format=layout), b.contiguous(memory_format=layout))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            task.after(step / max(1, total - 1))
            step += 1
    loss.item()
    return time.perf_counter() - begun, backbone


def main():
    layouts = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
    settings = {f"{name}, {workers} workers": (layout, workers) for name, layout in layouts.items() for workers in range(3)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=METHODS, default="simclr")
    parser.add_argument("--settings", choices=settings)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    labelled, test = split(MNIST, "train"), split(MNIST, "t10k")
    best = options.settings
    if best is None:
        tried = {name: train(labelled[0], options, *setting, 1)[0] for name, setting in settings.items()}
        best = min(tried, key=tried.get)
    seconds, backbone = train(labelled[0], options, *settings[best], options.epochs)
    values = {"probe": probe(backbone, labelled, test)}
    about = "fused AdamW, foreach EMA, no loss read; 2 layouts x 0, 1, 2 workers tried"
    print(json.dumps({"times": {best: seconds}, "values": values, "about": about}))


if __name__ == "__main__":
    main()
