"""Attention of 64 x 3 heads of 64, forward and backward, by scaled_dot_product_attention: what ssl/attention.ssl does."""

import torch
from common import main
from torch.nn.functional import scaled_dot_product_attention


def step(packed):
    def make(options):
        shape = (options.batch, 3, options.tokens, 64)
        if packed:  # As a layer that projects queries, keys and values at once leaves them.
            parts = torch.randn(options.batch, options.tokens, 3, 3, 64).permute(2, 0, 3, 1, 4).unbind(0)
        else:
            parts = [torch.randn(shape) for _ in range(3)]
        q, k, v = (part.detach().requires_grad_() for part in parts)
        slope = torch.randn(shape)

        def one():
            q.grad = k.grad = v.grad = None
            scaled_dot_product_attention(q, k, v).backward(slope)

        return one

    return make


if __name__ == "__main__":
    main({"contiguous": step(False), "packed": step(True)}, [("batch", 64), ("tokens", 65)], "f32")
