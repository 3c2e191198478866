"""A 3x3 convolution of 64 images, forward and both gradients: what `cargo bench --bench kernels` times."""

import torch
from common import main
from torch.nn.functional import conv2d


def step(layout):
    def make(options):
        sizes = (64, options.channels, options.size, options.size)
        x = torch.randn(sizes).to(memory_format=layout).requires_grad_()
        w = torch.randn(options.channels, options.channels, 3, 3).to(memory_format=layout).requires_grad_()
        slope = torch.randn(sizes).to(memory_format=layout)

        def one():
            x.grad = w.grad = None
            conv2d(x, w, padding=1).backward(slope)

        return one

    return make


if __name__ == "__main__":
    layouts = {"NCHW": step(torch.contiguous_format), "channels_last": step(torch.channels_last)}
    main(layouts, [("channels", 64), ("size", 32)], "oneDNN")
