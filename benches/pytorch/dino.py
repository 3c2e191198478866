"""A step of DINO with timm's ViT-tiny (patch 4, 32x32), 2 + 6 crops, LightlySSL's head and loss: what ssl/dino_tiny.ssl does.

Crops of one size go through the net as one batch, as in the authors' code.
"""

import timm
import torch
from common import adamw, follow, main
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead
from torch import nn

PROTOTYPES = 4096


def build():
    backbone = timm.create_model(
        "vit_tiny_patch16_224", patch_size=4, img_size=32, num_classes=0, dynamic_img_size=True
    )
    return nn.Sequential(backbone, DINOProjectionHead(192, 512, 256, PROTOTYPES))


def step(layout):
    def make(options):
        student, teacher = build().to(memory_format=layout), build().to(memory_format=layout)
        teacher.load_state_dict(student.state_dict())
        teacher.requires_grad_(False)
        followed = [list(net.parameters()) for net in (teacher, student)]
        weights = [weight for weight in student.parameters() if weight.requires_grad]
        groups = [
            {"params": [w for w in weights if w.ndim >= 2], "weight_decay": 0.04},
            {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
        ]
        optimiser = adamw(groups, lr=5e-4)
        criterion = DINOLoss(PROTOTYPES)
        wide = torch.randn(2 * options.batch, 3, 32, 32).to(memory_format=layout)
        narrow = torch.randn(6 * options.batch, 3, 16, 16).to(memory_format=layout)

        def one():
            with torch.no_grad():
                targets = list(teacher(wide).chunk(2))
            guesses = [*student(wide).chunk(2), *student(narrow).chunk(6)]
            optimiser.zero_grad(set_to_none=True)
            criterion(targets, guesses).backward()
            nn.utils.clip_grad_norm_(weights, 3.0, foreach=True)
            optimiser.step()
            follow(*followed, 0.996)

        return one

    return make


if __name__ == "__main__":
    layouts = {"NCHW": step(torch.contiguous_format), "channels_last": step(torch.channels_last)}
    main(layouts, [("batch", 64)], "crops batched by size, scaled_dot_product_attention, fused AdamW, foreach EMA")
