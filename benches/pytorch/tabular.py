"""A step of joint-embedding prediction on a table of 54 columns, MLPs throughout: what ssl/tabular.ssl does."""

import torch
from common import adamw, follow, main, mlp
from torch import nn


def plain(options):
    student, teacher = (mlp(108, [256, 256, 64], norm=nn.LayerNorm) for _ in range(2))
    teacher.load_state_dict(student.state_dict())
    teacher.requires_grad_(False)
    predictor = mlp(64, [128, 64], norm=nn.LayerNorm)
    followed = [list(net.parameters()) for net in (teacher, student)]
    optimiser = adamw([*student.parameters(), *predictor.parameters()])
    x, seen = torch.randn(options.batch, 54), (torch.rand(options.batch, 54) < 0.5).float()
    whole = torch.ones_like(x)

    def step():
        with torch.no_grad():
            target = teacher(torch.cat([x, whole], 1))
        guess = predictor(student(torch.cat([x * seen, seen], 1)))
        optimiser.zero_grad(set_to_none=True)
        nn.functional.mse_loss(guess, target).backward()
        optimiser.step()
        follow(*followed, 0.996)

    return step


if __name__ == "__main__":
    main({"eager": plain}, [("batch", 256)], "fused AdamW, foreach EMA, no loss read")
