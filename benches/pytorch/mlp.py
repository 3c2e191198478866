"""A step of a classifier 784-1024-1024-10: what ssl/wide_mlp.ssl does."""

import torch
from common import adamw, main, mlp
from torch import nn


def plain(options):
    net = mlp(784, [1024, 1024, 10], norm=None)
    optimiser = adamw(net.parameters())
    x, y = torch.randn(options.batch, 784), torch.randint(0, 10, (options.batch,))

    def step():
        optimiser.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()

    return step


if __name__ == "__main__":
    main({"eager": plain}, [("batch", 128)], "fused AdamW, no loss read")
