"""A step of Barlow Twins with torchvision's ResNet-18 (CIFAR stem) and LightlySSL's loss: what ssl/resnet18.ssl does."""

import torch
import torchvision
from common import adamw, main, mlp
from lightly.loss import BarlowTwinsLoss
from torch import nn


def step(layout):
    def make(options):
        backbone = torchvision.models.resnet18()
        backbone.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        backbone.maxpool = nn.Identity()
        backbone.fc = nn.Identity()
        net = nn.Sequential(backbone, mlp(512, [2048, 2048], bias=False)).to(memory_format=layout)
        optimiser = adamw(net.parameters(), weight_decay=1e-6)
        criterion = BarlowTwinsLoss(lambda_param=5e-3)
        left, right = (torch.randn(options.batch, 3, 32, 32).to(memory_format=layout) for _ in range(2))

        def one():
            optimiser.zero_grad(set_to_none=True)
            criterion(net(left), net(right)).backward()
            optimiser.step()

        return one

    return make


if __name__ == "__main__":
    layouts = {"NCHW": step(torch.contiguous_format), "channels_last": step(torch.channels_last)}
    main(layouts, [("batch", 128)], "fused AdamW, no loss read")
