"""One measurement of the peer: a process of a script in benches/pytorch, and its answer.

In the first round a script tries all its settings; from the second on those that were 1.5 times as slow as the best are left out.
"""

import json
import subprocess

from .setup import ROOT, THREADS, one_core, surroundings

CLOSE = 1.5


class Peer:
    def __init__(self, python, data):
        self.python, self.data = python, data
        self.kept = {}

    def measure(self, row, seed):
        if row.kind == "memory":
            return self.memory(row)
        options = {name: str(value).format(data=self.data) for name, value in row.options.items()}
        options |= {"seed": seed, "threads": 1 if row.kind == "views" else THREADS}
        if row.kind != "job":
            options |= {"steps": row.steps, "skip": min(row.skip, 3)}
        settings = self.kept.get(row.name) or row.settings
        if settings:
            options["settings"] = ",".join(settings)
        answer = self.run(row, options)
        times = answer["times"]
        self.kept[row.name] = [name for name, time in times.items() if time <= CLOSE * min(times.values())]
        return answer

    def memory(self, row):
        """A fresh process for each layout."""
        sizes, answer = {}, {}
        for setting in ("NCHW", "channels_last"):
            answer = self.run(row, {**row.options, "steps": row.steps, "settings": setting}, "--memory")
            sizes |= answer["bytes"]
        return {"bytes": sizes, "about": answer["about"]}

    def run(self, row, options, *flags):
        command = [self.python, ROOT / "benches" / "pytorch" / row.script, *flags]
        for name, value in options.items():
            command += [f"--{name}", value]
        done = subprocess.run(
            [str(part) for part in command],
            env=surroundings(),
            capture_output=True,
            text=True,
            preexec_fn=one_core() if row.kind == "views" else None,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{row.script}: {done.stderr}"[-2000:])
        return json.loads(done.stdout.strip().splitlines()[-1])

    def peak(self):
        """What the machine can do."""
        script = ROOT / "benches" / "pytorch" / "peak.py"
        done = subprocess.run([self.python, script], env=surroundings(), check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout)
