"""What both sides need: an environment with pinned PyTorch, our binaries, pictures to read."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = ROOT / "target" / "compare"
THREADS = 2


def environment(folder):
    """The interpreter of a virtual environment with benches/pytorch/requirements.txt; one that exists is taken as it is."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        say(f"making an environment in {folder}")
        venv.create(folder, with_pip=True)
        wanted = ROOT / "benches" / "pytorch" / "requirements.txt"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", wanted], check=True)
    return python


def binary():
    """Our `ssl`, built for release."""
    say("building ssl for release")
    return built(["build", "--release", "--bin", "ssl"], "ssl")


def bench(name):
    """The program of a bench target, or None where there is no such target."""
    if f'name = "{name}"' not in (ROOT / "Cargo.toml").read_text():
        return None
    say(f"building the bench target {name}")
    return built(["bench", "--no-run", "--bench", name], name)


def built(arguments, name):
    command = ["cargo", *arguments, "--message-format", "json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    made = [json.loads(line) for line in lines if line.startswith("{")]
    paths = [one["executable"] for one in made if one.get("executable") and one["target"]["name"] == name]
    return Path(paths[-1])


def pictures(python, quick):
    """The folder of pictures, drawn once."""
    folder = SCRATCH / ("pictures-quick" if quick else "pictures")
    if not (folder / "jpeg").exists():
        counts = ["--small", "1024", "--large", "32"] if quick else []
        script = ROOT / "benches" / "pytorch" / "pictures.py"
        subprocess.run([python, script, folder, *counts], check=True)
    return folder


def surroundings():
    """Two threads for every library that asks its environment."""
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"]
    return {**os.environ, **{name: str(THREADS) for name in names}, "PYTHONDONTWRITEBYTECODE": "1"}


def one_core():
    """For a child that may have one core only; None where the system has no such call."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    return lambda: os.sched_setaffinity(0, {core})


def say(text):
    print(text, file=sys.stderr, flush=True)
