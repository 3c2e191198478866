"""What the scripts of steps share: the command line, the clock, peak memory, and the answer as a line of JSON.

A script gives `main` a table of settings, each a function of the options that returns one step as a function without
arguments. The answer is `{"times": {setting: seconds of a step}, "about": what stands beside the ratio}`; with
`--memory` it is `{"bytes": {setting: growth of the process}}`, for one setting a process.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import nn


def main(settings, arguments=(), about="", unit=1):
    """`arguments` are pairs of a name and a default; `unit` divides the time of a step into the work in it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--settings", default=",".join(settings))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--skip", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", action="store_true")
    for name, default in arguments:
        parser.add_argument(f"--{name}", type=type(default), default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    chosen = options.settings.split(",")
    if options.memory:
        print(json.dumps({"bytes": {chosen[0]: growth(settings[chosen[0]], options)}, "about": about}))
        return
    times = {}
    for name in chosen:
        torch.manual_seed(options.seed)
        times[name] = timed(settings[name](options), options.steps, options.skip) / unit
    print(json.dumps({"times": times, "about": about}))


def timed(step, steps, skip):
    """Mean seconds of a step, without the first ones."""
    for _ in range(skip):
        step()
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - begun) / steps


def growth(make, options):
    """Peak resident size over some steps, less that just before the first. Nets, batch and moments are there before."""
    torch.manual_seed(options.seed)
    step = make(options)
    before = resident("VmRSS:")
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # Refused in some containers; then the peak is that of the whole process.
    for _ in range(options.steps):
        step()
    return resident("VmHWM:") - before


def resident(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def adamw(parameters, lr=1e-3, weight_decay=0.01):
    """Fused AdamW over parameters or groups of them, whose moments exist already."""
    optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True)
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    rates = [(group["lr"], group["weight_decay"]) for group in optimiser.param_groups]
    for group in optimiser.param_groups:
        group["lr"], group["weight_decay"] = 0.0, 0.0
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    for group, (rate, decay) in zip(optimiser.param_groups, rates):
        group["lr"], group["weight_decay"] = rate, decay
    return optimiser


@torch.no_grad()
def follow(teacher, student, keep):
    """teacher <- keep * teacher + (1 - keep) * student, over lists of tensors."""
    torch._foreach_lerp_(teacher, student, 1 - keep)


def mlp(width, sizes, norm=nn.BatchNorm1d, act=nn.ReLU, bias=True):
    """Linear layers with norm and activation between them, as std.net.mlp."""
    layers = []
    for size in sizes:
        layers.append(nn.Linear(width, size, bias=bias))
        if norm is not None:
            layers.append(norm(size))
        layers.append(act())
        width = size
    return nn.Sequential(*layers[: -1 if norm is None else -2])
