"""One measurement of ours: a process of `ssl run`, and what its events say."""

import json
import re
import subprocess
import tempfile
from pathlib import Path

from .setup import ROOT, THREADS, one_core, surroundings


class Ours:
    """`measure` gives `{"times": {setting: seconds}, "values": {…}, "flops": …}` or `{"bytes": …}`, as the peer does."""

    def __init__(self, ssl, kernels, candle, data):
        self.ssl, self.kernels, self.candle, self.data = ssl, kernels, candle, data
        self.convolutions = {}

    def measure(self, row, seed):
        return {
            "step": self.step,
            "candle": self.step,
            "job": self.job,
            "views": self.views,
            "memory": self.memory,
            "kernel": self.kernel,
        }[row.kind](row, seed)

    def run(self, row, seed, sets, threads=THREADS, alone=False):
        """The events of one run. A report that its `assert` does not hold is one that is cut short, and no failure here."""
        given = {name: str(value).format(data=self.data) for name, value in sets.items()}
        with tempfile.TemporaryDirectory() as out:
            command = [self.ssl, "run", ROOT / row.file, "--threads", threads, "--seed", seed, "--out", out]
            for name, value in given.items():
                command += ["--set", f"{name}={value}"]
            command += ["--message-format", "json"]
            done = subprocess.run(
                [str(part) for part in command],
                env=surroundings(),
                capture_output=True,
                text=True,
                preexec_fn=one_core() if alone else None,
            )
            logs = list(Path(out).glob("*/events.jsonl"))
            events = [json.loads(line) for line in logs[0].read_text().splitlines()] if logs else []
        failed = [event["code"] for event in events if event["event"] == "failed"]
        if done.returncode != 0 and failed != ["E0602"]:
            raise RuntimeError(f"{row.file}: {done.stderr or done.stdout}"[-2000:])
        return events

    def step(self, row, seed):
        """Mean seconds between the logs of steps. The first ones are left out, and the last, whose outputs are looked at."""
        events = self.run(row, seed, {**row.sets, "steps": row.skip + row.steps + 1})
        at = [event["at"] for event in events if event["event"] == "logged"]
        started = next(event for event in events if event["event"] == "stage_started")
        seconds = (at[row.skip + row.steps - 1] - at[row.skip - 1]) / row.steps
        return {"times": {"": seconds}, "flops": started["flops"], "first": at[0] - started["at"]}

    def job(self, row, seed):
        """Seconds of the training with its loader, and what the report says."""
        events = self.run(row, seed, row.sets)
        ended = next(event for event in events if event["event"] == "stage_ended")
        reported = dict(pair for event in events if event["event"] == "reported" for pair in event["rows"])
        return {"times": {"": ended["seconds"]}, "values": {"probe": reported.get("probe")}, "waited": ended["waited"]}

    def views(self, row, seed):
        """Seconds of one view on one core; two are made of each record."""
        events = self.run(row, seed, row.sets, threads=1, alone=True)
        ended = next(event for event in events if event["event"] == "stage_ended")
        return {"times": {"": ended["seconds"] / ended["rows"] / 2}}

    def memory(self, row, seed):
        """Growth over the steps. What is measured includes what outlives a step; a run without steps has that alone."""
        sizes = []
        for steps in (row.steps, 0):
            events = self.run(row, seed, {**row.sets, "steps": steps})
            sizes.append(next(event for event in events if event["event"] == "stage_ended"))
        predicted = sizes[0]["predicted"] / sizes[0]["measured"]
        return {"bytes": {"": sizes[0]["measured"] - sizes[1]["measured"]}, "predicted": predicted}

    def kernel(self, row, seed):
        """Three directions of one convolution out of all that the bench prints; one run of it serves all rows of a round."""
        if seed not in self.convolutions:
            done = subprocess.run([self.kernels, "--bench"], env=surroundings(), check=True, stdout=subprocess.PIPE, text=True)
            self.convolutions[seed] = convolutions(done.stdout)
        channels, size = row.sets["channels"], row.sets["size"]
        name = f"64 x {channels}->{channels} {size}x{size} k3 s1 g1"
        return {"times": {"": sum(self.convolutions[seed][name, way] for way in ("forward", "input", "weight"))}}

    def loop(self):
        """The peer of the row `candle`."""
        done = subprocess.run([self.candle, "--bench"], env=surroundings(), check=True, stdout=subprocess.PIPE, text=True)
        line = next(line for line in reversed(done.stdout.splitlines()) if line.startswith("{"))
        return {"times": {"Candle": json.loads(line)["seconds"]}, "about": "hand-written loop"}


def convolutions(text):
    """Lines as `conv 64 x 64->64 32x32 k3 s1 g1 forward   25.5 ms   189.0 GFLOP/s`."""
    lines = re.findall(r"^conv (.+?) (forward|input|weight)\s+([\d.]+) ms", text, re.MULTILINE)
    return {(name, way): float(ms) / 1e3 for name, way, ms in lines}
