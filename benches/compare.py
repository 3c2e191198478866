"""Ours against PyTorch, torchvision, LightlySSL and timm on this machine: runs both sides by turns and prints a table of ratios.

    python3 benches/compare.py                                  # everything, five rounds: some hours on two cores
    python3 benches/compare.py --rows resnet18,adamw --rounds 3
    python3 benches/compare.py --list

Without `--env` an environment with the pinned packages of benches/pytorch/requirements.txt is made in target/compare/env;
without `--ssl` the binary is built by cargo. Both sides have two threads (rows of views: one core); each measurement is a
process of its own, ours and the peer's alternate, and a ratio is taken within a round. The peer runs at its best: its
settings are tried, and the one with the best median counts and is named. A row is reached when the lowest ratio is.
"""

import argparse
import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import report, setup
from harness.ours import Ours
from harness.peer import Peer
from harness.rows import ROWS, quick
from harness.setup import SCRATCH, say


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", help="names of rows, with commas; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--env", type=Path, default=SCRATCH / "env", help="a virtual environment, made where it is missing")
    parser.add_argument("--ssl", type=Path, help="a binary of ours instead of building one")
    parser.add_argument("--kernels", type=Path, help="a binary of the bench target `kernels` instead of building one")
    parser.add_argument("--json", type=Path, default=SCRATCH / "compare.json", help="where all measurements are written")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see whether everything runs")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    return parser.parse_args()


def main():
    options = arguments()
    if options.list:
        print("\n".join(f"{row.name:<22} {row.work}" for row in ROWS))
        return
    rows = chosen(options.rows)
    if options.quick:
        rows = [quick(row) for row in rows]
    kinds = {row.kind for row in rows}
    SCRATCH.mkdir(parents=True, exist_ok=True)
    python = setup.environment(options.env)
    ssl = (options.ssl or setup.binary()).resolve()
    kernels = (options.kernels or setup.bench("kernels")) if "kernel" in kinds else None
    candle = setup.bench("candle") if "candle" in kinds else None
    if candle is None:
        rows = [row for row in rows if row.kind != "candle"]
    data = setup.pictures(python, options.quick) if "views" in kinds else None
    ours, peer = Ours(ssl, kernels, candle, data), Peer(python, data)

    peak = peer.peak()
    head = (
        f"PyTorch {peak['torch']}, two threads; GEMM peak {peak['flops'] / 1e9:.0f} GFLOP/s, "
        f"memory {peak['bytes'] / 1e9:.0f} GB/s"
    )
    say(head)
    summaries, failures = [], {}
    for row in rows:
        try:
            summaries.append(report.summary(row, measured(row, options.rounds, ours, peer), peak))
        except (RuntimeError, KeyError, IndexError, StopIteration) as error:
            failures[row.name] = f"{type(error).__name__}: {error}"
            say(f"{row.name} failed: {failures[row.name]}")
            continue
        written = {"head": head, "peak": peak, "quick": options.quick, "rows": summaries, "failures": failures}
        options.json.write_text(json.dumps(written, indent=1))
    print(f"{head}; {options.rounds} rounds\n")
    print(report.table(summaries))
    for name, why in failures.items():
        print(f"- {name} could not be measured: {why.splitlines()[0]}")
    if options.quick:
        print("\nSizes were cut by --quick: these ratios say nothing.")
    sys.exit(1 if failures else 0)


def chosen(names):
    if not names:
        return ROWS
    known = {row.name: row for row in ROWS}
    unknown = [name for name in names.split(",") if name not in known]
    if unknown:
        sys.exit(f"no such row: {', '.join(unknown)}; `--list` prints them")
    return [known[name] for name in names.split(",")]


def measured(row, rounds, ours, peer):
    """Pairs of answers; who begins alternates, so that neither always finds the machine warm."""
    pairs = []
    for at in range(rounds):
        sides = [lambda: ours.measure(row, at), lambda: ours.loop() if row.kind == "candle" else peer.measure(row, at)]
        order = [0, 1] if at % 2 == 0 else [1, 0]
        answers = {side: sides[side]() for side in order}
        pairs.append((answers[0], answers[1]))
        say(f"{row.name} {at + 1}/{rounds}: {answers[0]} {answers[1]}")
    return pairs


if __name__ == "__main__":
    main()
