"""What is compared, one row each: the work, our program, the peer's script, and the ratio to reach."""

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Row:
    name: str
    work: str
    #: The peer's time is at least so many times ours. None where there is no target for this line.
    target: float
    #: What would be better still.
    goal: float | None = None
    #: step, job, views, memory, kernel or candle: how it is measured, see `ours`.
    kind: str = "step"
    #: Our program, below the repository.
    file: str = ""
    #: `--set` of ours.
    sets: dict = field(default_factory=dict)
    #: The peer's script in benches/pytorch and its options.
    script: str = ""
    options: dict = field(default_factory=dict)
    #: Only these settings of the peer count.
    settings: tuple = ()
    #: Steps that are timed and steps before them, of ours and of the peer. Ours looks closer at its first five steps.
    steps: int = 5
    skip: int = 6
    #: Share of the machine's GEMM peak (0.8) or memory bandwidth (0.85) that ours is to reach.
    flops_share: float | None = None
    bytes_share: float | None = None
    #: Bytes that a step has to move, for `bytes_share`.
    bytes: float = 0.0


def convolution(channels, size):
    shape = {"channels": channels, "size": size}
    work = f"3x3 convolution, {channels} channels, {size}x{size}, forward and both gradients, against"
    common = {"kind": "kernel", "script": "conv.py", "options": shape, "sets": shape, "steps": 7}
    return [
        Row(f"conv{channels}-channels-last", f"{work} channels-last", 2.2, settings=("channels_last",), **common),
        Row(f"conv{channels}-nchw", f"{work} NCHW", 2.8, settings=("NCHW",), **common),
    ]


def job(name, epochs, words):
    file = f"pipelines/{name}.ssl"
    options = {"method": name, "epochs": epochs}
    sets = {"epochs": epochs}
    return Row(name, words, 3.0, kind="job", file=file, sets=sets, script="end_to_end.py", options=options)


def views(kind, words, target, goal, ours):
    options = {"kind": kind, "data": "{data}"}
    file = f"benches/ssl/views_{kind}.ssl"
    steps = 1000 if kind == "small" else 128
    work = f"SimCLR views on one core, {words}"
    return Row(
        f"views-{kind}", work, target, goal, "views", file, ours, "views.py", options, steps=steps, skip=8
    )


def attention(tokens, steps):
    words = f"attention, 64x3 heads, {tokens} tokens, forward and backward"
    sets = {"tokens": tokens}
    return Row(
        f"attention{tokens}", words, 1.3, None, "step", "benches/ssl/attention.ssl", sets, "attention.py", sets, steps=steps
    )


def wide(batch, target, steps):
    sets = {"batch": batch}
    words = f"MLP 784-1024-1024-10, step, batch {batch}"
    return Row(
        f"wide-mlp{batch}", words, target, None, "step", "benches/ssl/wide_mlp.ssl", sets, "mlp.py", sets,
        steps=steps, flops_share=0.8,
    )


def optimiser(name, words, target, norm):
    sets = {"norm": norm}
    # Read: w, gradient, m, v, teacher. Written: all but the gradient. Clipping reads the gradient once more.
    moved = (9 + (norm > 0)) * 4 * 11_173_962
    return Row(
        name, words, target, None, "step", "benches/ssl/adamw.ssl", sets, "adamw.py", sets, steps=40,
        bytes_share=0.85, bytes=moved,
    )


def memory(name, words, file, script, batch):
    sets = {"batch": batch}
    return Row(f"memory-{name}", f"peak memory of a step, {words}, batch {batch}", 1 / 0.6, None, "memory", file, sets,
               script, sets, steps=3)


RESNET = {"file": "benches/ssl/resnet18.ssl", "script": "resnet18.py"}
DINO = {"file": "benches/ssl/dino_tiny.ssl", "script": "dino.py"}

ROWS = [
    Row("resnet18", "ResNet-18 (CIFAR stem), Barlow Twins step, batch 128", 2.0, 2.5,
        sets={"batch": 128}, options={"batch": 128}, **RESNET),
    job("barlow_twins", 20, "quickstart: Barlow Twins, small conv net, 20 epochs end to end"),
    job("simclr", 20, "quickstart: SimCLR, small conv net, 20 epochs end to end"),
    job("byol", 25, "quickstart: BYOL, small conv net, 25 epochs end to end"),
    Row("dino", "ViT-tiny (32x32, patch 4), DINO with 2+6 crops, step, batch 64", 1.2, 1.5,
        sets={"batch": 64}, options={"batch": 64}, flops_share=0.8, **DINO),
    Row("tabular", "joint-embedding prediction on a table, small MLPs, step, batch 256", 2.0, 3.0,
        file="benches/ssl/tabular.ssl", script="tabular.py", steps=400),
    wide(128, 0.95, 60),
    wide(512, 1.0, 30),
    optimiser("adamw", "AdamW + EMA over 11 M weights", 1.0, 0.0),
    optimiser("adamw-clip", "AdamW + EMA over 11 M weights, gradient clipped", 1.3, 3.0),
    views("small", "32x32", 20.0, 50.0, {"folder": "{data}/cifar"}),
    views("large", "400x500 to 224x224", 6.0, 8.0, {"file": "{data}/large.npy"}),
    views("jpeg", "400x500 to 224x224 with JPEG decoding", 4.0, 5.0, {"folder": "{data}/jpeg"}),
    attention(65, 60),
    attention(197, 15),
    memory("resnet18", "ResNet-18", RESNET["file"], RESNET["script"], 128),
    memory("dino", "ViT-tiny", DINO["file"], DINO["script"], 128),
    *convolution(64, 32),
    *convolution(128, 16),
    *convolution(256, 8),
    # A bench target `candle` that prints `{"seconds": …}`, the time of a step of the quickstart's conv net on two views.
    Row("candle", "conv net step against a hand-written Candle loop", 6.0, kind="candle", file="benches/ssl/conv_net.ssl",
        steps=20),
]


def quick(row):
    """The same row cut down, to see whether everything runs. Its numbers say little."""
    settings = ("NCHW, 2 workers",) if row.kind == "job" else row.settings
    steps = {"steps": max(2, row.steps // 8), "skip": min(row.skip, 2)}
    return replace(row, sets=cut(row.sets), options=cut(row.options), settings=settings, **steps)


def cut(sets):
    small = {"batch": lambda value: max(8, value // 8), "epochs": lambda value: 1}
    return {name: small.get(name, lambda same: same)(value) for name, value in sets.items()}
