"""Two SimCLR views of each picture, on one core: what ssl/views_small.ssl, views_large.ssl and views_jpeg.ssl do.

`pil` is torchvision on PIL pictures, as LightlySSL's transforms are; `tensor` the same transforms on tensors of bytes.
A step is a picture in its two views; the times are those of one view.
"""

import io
from pathlib import Path

import numpy as np
import torch
from common import main
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2


def augment(size, last, strength, blur):
    jitter = [strength * amount for amount in (0.8, 0.8, 0.8, 0.2)]
    steps = [
        v2.RandomResizedCrop(size, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.ColorJitter(*jitter)], p=0.8),
        v2.RandomGrayscale(0.2),
    ]
    if blur:
        steps.append(v2.RandomApply([v2.GaussianBlur(13, sigma=(0.1, 2.0))], p=0.5))
    return v2.Compose([*steps, *last])


TO_FLOAT = {"pil": [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)], "tensor": [v2.ToDtype(torch.float32, scale=True)]}


def read(options, kind):
    """Pictures as functions that give one: decoded before, or decoded by the call."""
    folder = Path(options.data)
    if options.kind == "jpeg":
        files = [np.frombuffer(file.read_bytes(), np.uint8).copy() for file in sorted(folder.glob("jpeg/*/*.jpg"))]
        if kind == "pil":
            return [lambda file=file: Image.open(io.BytesIO(file)).convert("RGB") for file in files]
        return [lambda file=torch.from_numpy(file): decode_jpeg(file, ImageReadMode.RGB) for file in files]
    if options.kind == "large":
        pictures = np.load(folder / "large.npy")
    else:
        pictures = np.fromfile(folder / "cifar" / "train.bin", np.uint8).reshape(-1, 3073)[:, 1:].reshape(-1, 3, 32, 32)
    if kind == "pil":
        ready = [Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))) for picture in pictures]
    else:
        ready = list(torch.from_numpy(pictures))
    return [lambda picture=picture: picture for picture in ready]


def step(kind):
    def make(options):
        pictures = read(options, kind)
        small = options.kind == "small"
        view = augment(32 if small else 224, TO_FLOAT[kind], 0.5 if small else 1.0, not small)
        at = 0

        def one():
            nonlocal at
            picture = pictures[at % len(pictures)]()
            at += 1
            return view(picture), view(picture)

        return one

    return make


if __name__ == "__main__":
    arguments = [("kind", "small"), ("data", ".")]
    main({"pil": step("pil"), "tensor": step("tensor")}, arguments, "torchvision.transforms.v2, one core", unit=2)
