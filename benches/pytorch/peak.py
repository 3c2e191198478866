"""What the machine can do: the best of some matrix products in FLOP/s, and bytes/s of reading and writing large tensors."""

import json
import time

import torch


def best(work, rounds=15):
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


if __name__ == "__main__":
    torch.set_num_threads(2)
    flops = 0.0
    for m, k, n in [(1024, 1024, 1024), (2048, 1024, 1024), (4160, 192, 768)]:
        a, b = torch.randn(m, k), torch.randn(k, n)
        out = torch.empty(m, n)
        flops = max(flops, 2.0 * m * k * n / best(lambda: torch.mm(a, b, out=out)))
    x, y = torch.randn(32 << 20), torch.randn(32 << 20)
    out = torch.empty_like(x)
    moved = 3 * 4 * x.numel() / best(lambda: torch.add(x, y, out=out))
    print(json.dumps({"flops": flops, "bytes": moved, "torch": torch.__version__}))
