"""AdamW and the average of a teacher over 11 million weights, gradients given: what ssl/adamw.ssl does.

Once over one flat tensor and once over the tensors of a ResNet-18.
"""

import torch
import torchvision
from common import adamw, follow, main
from torch import nn

SIZE = 11_173_962


def step(shapes):
    def make(options):
        weights = [nn.Parameter(torch.randn(shape)) for shape in shapes]
        teacher = [torch.randn(shape) for shape in shapes]
        slopes = [torch.randn(shape) for shape in shapes]
        optimiser = adamw(weights, weight_decay=0.05)

        def one():
            for weight, slope in zip(weights, slopes):
                weight.grad = slope
            if options.norm > 0:
                nn.utils.clip_grad_norm_(weights, options.norm, foreach=True)
            optimiser.step()
            follow(teacher, [weight.data for weight in weights], 0.99)

        return one

    return make


if __name__ == "__main__":
    shapes = [weight.shape for weight in torchvision.models.resnet18(num_classes=10).parameters()]
    main({"one tensor": step([(SIZE,)]), "62 tensors": step(shapes)}, [("norm", 0.0)], "fused AdamW, foreach EMA and clipping")
