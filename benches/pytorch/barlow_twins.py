"""Barlow Twins on the built-in MNIST subset in PyTorch, torchvision and LightlySSL: the same job as
pipelines/barlow_twins.ssl, for comparing images/s and probe accuracy.

    pip install torch torchvision lightly numpy
    python benches/pytorch/barlow_twins.py

Images are 14x14 (2x2 means). Each image is augmented on its own by torchvision's v2 transforms on tensors, in the
loader's worker processes, as a PyTorch user would; `--threads 2` is two threads for the net and two workers. The probe
is that of std.eval.linear_probe: logistic regression with l2 / 2 * |weight|^2 on the summed loss, l2 = 1, on standardised
frozen features of 100 labelled images, the first ten of each class.
"""

import argparse
import gzip
import math
import time
from pathlib import Path

import numpy as np
import torch
from lightly.loss import BarlowTwinsLoss
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2

MNIST = Path(__file__).resolve().parents[2] / "data" / "mnist"


def idx(path):
    with gzip.open(path, "rb") as file:
        raw = file.read()
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", rank, 4)
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(*shape).copy())


def split(folder, name):
    images = idx(folder / f"{name}-images-idx3-ubyte.gz").float().div(255).unsqueeze(1)
    labels = idx(folder / f"{name}-labels-idx1-ubyte.gz").long()
    return nn.functional.avg_pool2d(images, 2), labels


class Noise(nn.Module):
    def forward(self, x):
        return x + 0.1 * torch.randn_like(x)


def views(size):
    common = [
        v2.RandomResizedCrop(size, scale=(0.6, 1.0), antialias=True),
        v2.RandomRotation(15, interpolation=InterpolationMode.BILINEAR),
    ]
    strong = v2.Compose([*common, v2.GaussianBlur(7, sigma=(0.1, 1.0))])
    weak = v2.Compose([*common, v2.RandomApply([Noise()], p=0.5)])
    return strong, weak


class TwoViews(Dataset):
    def __init__(self, images):
        self.images = images
        self.strong, self.weak = views(images.shape[-1])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.strong(self.images[i]), self.weak(self.images[i])


def conv_net(widths=(32, 64, 128)):
    layers, channels = [], 1
    for width in widths:
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def mlp(sizes=(256, 256, 256), width=128):
    layers = []
    for size in sizes:
        layers += [nn.Linear(width, size, bias=False), nn.BatchNorm1d(size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers[:-2])


def rate(step, warmup, total, top):
    """Linear from 0 over the warm-up, then half a cosine down to 0."""
    if step < warmup:
        return top * (step + 1) / warmup
    return top * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup))) / 2


def pretrain(backbone, images, options):
    projector = mlp()
    nets = nn.Sequential(backbone, projector).train()
    loader = DataLoader(
        TwoViews(images),
        options.batch,
        shuffle=True,
        drop_last=True,
        num_workers=options.threads,
        persistent_workers=True,
    )
    optimiser = torch.optim.AdamW(nets.parameters(), lr=1e-3, weight_decay=1e-6)
    criterion = BarlowTwinsLoss(lambda_param=5e-3)
    total = options.epochs * len(loader)
    step, seen, started = 0, 0, time.perf_counter()
    for epoch in range(options.epochs):
        for a, b in loader:
            for group in optimiser.param_groups:
                group["lr"] = rate(step, len(loader), total, 1e-3)
            loss = criterion(nets(a), nets(b))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step, seen = step + 1, seen + len(a)
        seconds = time.perf_counter() - started
        print(f"epoch {epoch + 1:2}  loss {loss.item():8.3f}  {seen / seconds:7.0f} images/s  {seconds:6.1f} s", flush=True)
    return seen / seconds


@torch.no_grad()
def features(backbone, images):
    backbone.eval()
    return torch.cat([backbone(part) for part in images.split(500)])


def probe(backbone, train, test, per_class=10):
    images, labels = train
    chosen = torch.cat([(labels == k).nonzero().flatten()[:per_class] for k in range(10)])
    x, y = features(backbone, images[chosen]), labels[chosen]
    xt, yt = features(backbone, test[0]), test[1]
    mean, std = x.mean(0), torch.sqrt(x.var(0, unbiased=False) + 1e-8)
    x, xt = (x - mean) / std, (xt - mean) / std
    head = nn.Linear(x.shape[1], 10)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(head(x), y) + head.weight.pow(2).sum() / (2 * len(x))
        loss.backward()
        return loss

    optimiser.step(closure)
    return (head(xt).argmax(1) == yt).float().mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=MNIST)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    train, test = split(options.data, "train"), split(options.data, "t10k")
    backbone = conv_net()
    random = probe(backbone, train, test)
    speed = pretrain(backbone, train[0], options)
    print(f"{speed:.0f} images/s, linear probe {probe(backbone, train, test):.3f}, untrained {random:.3f}")


if __name__ == "__main__":
    main()
