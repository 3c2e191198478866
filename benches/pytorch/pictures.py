"""Writes the pictures that the rows of views read: `cifar/` (32x32), `large.npy` (400x500, bytes) and `jpeg/` (the same as files).

    python pictures.py FOLDER --small 10240 --large 256

They are drawn from a fixed seed: smooth colours with some grain, which compress about as photographs do.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image


def draw(rng, height, width):
    coarse = Image.fromarray(rng.integers(0, 256, (height // 32 + 2, width // 32 + 2, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.BICUBIC), dtype=np.int16)
    grain = rng.integers(-12, 13, (height, width, 1), dtype=np.int16)
    return np.clip(smooth + grain, 0, 255).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--small", type=int, default=10240)
    parser.add_argument("--large", type=int, default=256)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    cifar, jpeg = options.folder / "cifar", options.folder / "jpeg"
    for name, count in [("train", options.small), ("test", 16)]:
        cifar.mkdir(parents=True, exist_ok=True)
        records = np.empty((count, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(count) % 10
        for record in records:
            record[1:] = draw(rng, 32, 32).transpose(2, 0, 1).reshape(-1)
        records.tofile(cifar / f"{name}.bin")
    large = np.stack([draw(rng, 400, 500) for _ in range(options.large)])
    np.save(options.folder / "large.npy", np.ascontiguousarray(large.transpose(0, 3, 1, 2)))
    for at, picture in enumerate(large):
        folder = jpeg / str(at % 2)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{at:04}.jpg", quality=90)


if __name__ == "__main__":
    main()
