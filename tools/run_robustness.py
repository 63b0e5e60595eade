"""Two tables of the embedded world: corrupted scans against linear probes, and map segmentation, three seeds
each.

Usage: .venv/bin/python tools/run_robustness.py --arms runs/arms/natural-0 --world runs/mini --stages
       runs/detection --out runs/robustness --table datasets/results/robustness [--seeds 0 1 2] [--jobs 2]

Corruptions: the probes that tools/run_arms.py left of the pretrained and of the random network, the latter
    the baseline of
its seed. Maps: the backbones that tools/run_detection.py left of CALICO's first stage, and random ones, on
    its world.
Writes TABLE.json and TABLE.md. What is finished is not run again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
from run_detection import CONFIGS, run_all
from run_detection import spread as mean_and_range

from lidardistill.atomic import atomic_write, write_json_atomic
from lidardistill.engine.manifest import git_state, machine, versions

PROBES = ("random", "pretrained")
BACKBONES = ("random", "prc")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("arms", "world", "stages", "out", "table"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    for arm in PROBES:  # the baselines first
        wanted = [seed for seed in options.seeds if not corrupted(options, arm, seed).is_file()]
        run_all(options, [corruption(options, arm, seed) for seed in wanted])
    run_all(options, [maps(options, weights, seed) for weights in BACKBONES for seed in options.seeds])
    record = {
        "command": shlex.join(["python", *sys.argv]),
        "git": git_state(),
        "versions": versions(),
        "machine": machine(),
        "corruptions": {
            arm: [json.loads(corrupted(options, arm, seed).read_text()) for seed in options.seeds]
            for arm in PROBES
        },
        "maps": {
            weights: [
                json.loads((map_run(options, weights, seed) / "metrics.json").read_text())
                for seed in options.seeds
            ]
            for weights in BACKBONES
        },
    }
    write_json_atomic(options.table.with_suffix(".json"), record)
    with atomic_write(options.table.with_suffix(".md")) as stream:
        stream.write(("\n".join(markdown(record)) + "\n").encode())


def corrupted(options: argparse.Namespace, arm: str, seed: int) -> Path:
    return options.out / f"corruptions-{arm}-{seed}" / "robustness.json"


def map_run(options: argparse.Namespace, weights: str, seed: int) -> Path:
    return options.out / f"maps-{weights}-{seed}"


def corruption(options: argparse.Namespace, arm: str, seed: int) -> list[str]:
    """The command that judges one probe on every corruption."""
    command = ["evaluate", "--run", str(options.arms / f"{arm}-{seed}" / "probe"), "--split", "mini_val"]
    command += ["--out", str(corrupted(options, arm, seed).parent), "--corruption", "all"]
    if arm != "random":
        command += ["--baseline", str(corrupted(options, "random", seed).parent)]
    return command


def maps(options: argparse.Namespace, weights: str, seed: int) -> list[str]:
    """The command of one map segmentation run."""
    given = "random" if weights == "random" else str(options.stages / f"{weights}-{seed}")
    command = ["mapseg", str(CONFIGS / "mapseg" / "demo.yaml"), "--weights", given]
    command += ["--out", str(map_run(options, weights, seed)), f"seed={seed}"]
    return [*command, f"data.dataroot={options.world}"]


def markdown(record: dict[str, Any]) -> list[str]:
    """Both tables; every figure is the mean over the seeds, in percent."""
    random, pretrained = (record["corruptions"][arm] for arm in PROBES)
    count = len(random)
    lines = [
        f"Command: `{record['command']}`, commit {record['git']['commit']}. Means of {count} seeds, in "
        "percent.",
        "",
        "# Corruptions, embedded world (mini_val)",
        "",
        "Linear probes; mIoU from light to heavy. CE is against the random network of the same seed, RR "
        "against the clean scan.",
        "",
        "| corruption | random | SLidR | CE | RR |",
        "|---|---|---|---|---|",
        f"| clean | {mean(random, 'clean')} | {mean(pretrained, 'clean')} | - | - |",
    ]
    for name in pretrained[0]["ce"]:
        cells = [mean(runs, "accuracy", name) for runs in (random, pretrained)]
        cells += [mean(pretrained, key, name) for key in ("ce", "rr")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    fooled = [mean(runs, "attack_success", "spoofing") for runs in (random, pretrained)]
    lines += [
        f"| spoofing, success | {fooled[0]} | {fooled[1]} | - | - |",
        "",
        f"SLidR: mCE {spread(pretrained, 'mce')}, mRR {spread(pretrained, 'mrr')}; random: mRR "
        f"{spread(random, 'mrr')}. A network that finds nothing loses nothing: read mRR beside mCE.",
        "",
        "# Map segmentation, embedded world (mini_val)",
        "",
        "`lidardistill mapseg configs/mapseg/demo.yaml`, all labels; IoU at the best threshold of each "
        "class.",
        "",
    ]
    classes = list(record["maps"]["random"][0]["iou"])
    lines += [f"| weights | {' | '.join(classes)} | mean |", "|---" * (len(classes) + 2) + "|"]
    for weights, runs in record["maps"].items():
        cells = [mean(runs, "iou", name) for name in classes]
        lines.append(f"| {weights} | {' | '.join(cells)} | {spread(runs, 'miou')} |")
    return lines


def _values(runs: list[dict[str, Any]], keys: tuple[str, ...]) -> np.ndarray:
    found = []
    for run in runs:
        value: Any = run
        for key in keys:
            value = value[key]
        found.append(value)
    return 100 * np.array(found, np.float64)


def mean(runs: list[dict[str, Any]], *keys: str) -> str:
    """Mean over seeds of one figure, or of each of several."""
    return " ".join(f"{value:.1f}" for value in np.atleast_1d(_values(runs, keys).mean(0)))


def spread(runs: list[dict[str, Any]], *keys: str) -> str:
    """Mean and range."""
    return mean_and_range(_values(runs, keys).tolist())


if __name__ == "__main__":
    main()
