"""Detection on the embedded world: what CALICO's two stages are worth, by the official evaluator.

Usage: .venv/bin/python tools/run_detection.py --world runs/demo/world --out runs/detection --table
       datasets/results/detection [--seeds 0 1 2] [--steps 160 600] [--percent 10] [--arms random prc
       fused_random fused_rad] [--jobs 2]

Arms: LiDAR alone from random weights (random) or from the first stage (prc); with cameras, LiDAR from the
    first stage and the
camera network as its recipe begins (fused_random) or from the second stage (fused_rad). Writes TABLE.json
(every run) and TABLE.md. What is finished is not run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lidardistill.atomic import atomic_write, write_json_atomic
from lidardistill.engine.manifest import git_state, machine, versions

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
ARMS: dict[str, tuple[str, str | None, str | None]] = {
    "random": ("demo.yaml", None, None),
    "prc": ("demo.yaml", "prc", None),
    "fused_random": ("demo_fusion.yaml", "prc", None),
    "fused_rad": ("demo_fusion.yaml", "prc", "rad"),
}
"""Recipe, and the stages that the LiDAR and the camera network begin from."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, nargs="+", default=[160, 600])
    parser.add_argument("--percent", type=int, default=10)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    stages = {stage for arm in options.arms for stage in ARMS[arm][1:] if stage}
    run_all(options, [pretraining(options, "prc", seed) for seed in options.seeds if "prc" in stages])
    run_all(options, [pretraining(options, "rad", seed) for seed in options.seeds if "rad" in stages])
    chosen = list(itertools.product(options.arms, options.steps, options.seeds))
    run_all(options, [detection(options, *one) for one in chosen])
    write_table(options, [row(options, *one) for one in chosen])


def pretraining(options: argparse.Namespace, stage: str, seed: int) -> list[str]:
    """The command of one pretraining run."""
    command = ["pretrain", str(CONFIGS / "pretrain" / f"demo_calico_{stage}.yaml")]
    command += ["--out", str(options.out / f"{stage}-{seed}"), f"seed={seed}"]
    command += [f"data.dataroot={options.world}"]
    if stage == "rad":
        command += [f"method.lidar_weights={options.out / f'prc-{seed}'}"]
    return command


def detection(options: argparse.Namespace, arm: str, steps: int, seed: int) -> list[str]:
    """The command of one detection run."""
    recipe, lidar, camera = ARMS[arm]
    command = ["detect", str(CONFIGS / "detect" / recipe)]
    command += ["--weights", str(options.out / f"{lidar}-{seed}") if lidar else "random"]
    if camera:
        command += ["--camera-weights", str(options.out / f"{camera}-{seed}")]
    command += ["--out", str(folder(options, arm, steps, seed)), f"seed={seed}"]
    command += [f"data.dataroot={options.world}", f"data.label_percent={options.percent}"]
    return [*command, f"trainer.max_steps={steps}"]


def folder(options: argparse.Namespace, arm: str, steps: int, seed: int) -> Path:
    return options.out / f"{arm}-{options.percent}pct-{steps}steps-{seed}"


def run_all(options: argparse.Namespace, commands: list[list[str]]) -> None:
    """Run verbs side by side, one thread each; the first that fails ends all with its output."""
    options.out.mkdir(parents=True, exist_ok=True)

    def run(command: list[str]) -> None:
        program = [sys.executable, "-m", "lidardistill", *command]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        if done.returncode:
            raise RuntimeError(f"{shlex.join(program)} ended with {done.returncode}:\n{done.stdout[-2000:]}")
        print(shlex.join(["lidardistill", *command]), flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(run, commands))


def row(options: argparse.Namespace, arm: str, steps: int, seed: int) -> dict[str, Any]:
    """What one detection run has reached."""
    metrics = json.loads((folder(options, arm, steps, seed) / "metrics.json").read_text())
    kept = {key: metrics[key] for key in ("nds", "map", "tp_errors", "ap", "evaluator")}
    return {"arm": arm, "percent": options.percent, "steps": steps, "seed": seed, **kept}


def write_table(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """The JSON and the Markdown."""
    record = {
        "command": shlex.join(["python", *sys.argv]),
        "git": git_state(),
        "versions": versions(),
        "machine": machine(),
        "rows": rows,
    }
    options.table.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(options.table.with_suffix(".json"), record)
    lines = ["| labels | steps | arm | seeds | NDS | mAP |", "|---|---|---|---|---|---|"]
    for steps, arm in itertools.product(options.steps, options.arms):
        of_arm = [one for one in rows if (one["steps"], one["arm"]) == (steps, arm)]
        nds, ap = (spread([100 * one[key] for one in of_arm]) for key in ("nds", "map"))
        lines.append(f"| {options.percent} % | {steps} | {arm} | {len(of_arm)} | {nds} | {ap} |")
    text = f"Command: `{record['command']}`, commit {record['git']['commit']}.\n\n" + "\n".join(lines) + "\n"
    with atomic_write(options.table.with_suffix(".md")) as stream:
        stream.write(text.encode())


def spread(values: list[float]) -> str:
    """Mean and range."""
    return f"{np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    main()
