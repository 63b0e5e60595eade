"""All arms, worlds and seeds of the embedded world's table, by the official evaluator. Takes an hour or two
on two cores.

Usage: .venv/bin/python tools/run_arms.py --out runs/arms --table datasets/results/embedded_world
       [--worlds 0 1 2] [--seeds 0 1 2] [--steps 1000] [--only default other overlapping] [--arms pretrained
       random ...]

Writes TABLE.json (every run, and mean and range of each arm) and TABLE.md. What is finished is not run again.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

from lidardistill.atomic import atomic_write, write_json_atomic
from lidardistill.demo.experiment import ARMS, HAND_MADE, pretrain_config
from lidardistill.demo.parallel_arms import ArmJob, compute_teacher_features, run_jobs
from lidardistill.demo.run import IMAGE_SIZE
from lidardistill.engine.manifest import git_state, machine, versions
from lidardistill.progress import Bar
from lidardistill.synthetic.write.dataset import write_world

GROUPS: dict[str, dict[str, Any]] = {
    "default": {
        "worlds": slice(0, 1),
        "palette": "natural",
        "arms": ("pretrained", "random", "permuted", "other_keyframe", "color_histogram", "random_teacher"),
        "finetuned": ("pretrained", "random"),
    },
    "other": {
        "worlds": slice(1, None),
        "palette": "natural",
        "arms": ("pretrained", "random", "permuted"),
        "finetuned": ("pretrained", "random"),
    },
    "overlapping": {
        "worlds": slice(0, 1),
        "palette": "overlapping",
        "arms": ("pretrained", "random", "color_histogram", "random_teacher"),
        "finetuned": (),
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--worlds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in options.only:
        group = GROUPS[name]
        for world_seed in options.worlds[group["worlds"]]:
            rows += run_group(options, group, world_seed)
            write_table(options, rows)


def run_group(options: argparse.Namespace, group: dict[str, Any], world_seed: int) -> list[dict[str, Any]]:
    """All arms and seeds on one world."""
    palette = group["palette"]
    arms = [arm for arm in group["arms"] if arm in options.arms]
    home = options.out / f"{palette}-{world_seed}"
    with Bar(f"{palette} {world_seed}") as bar:
        world = write_world(
            home / "world",
            image_size=IMAGE_SIZE,
            seed=world_seed,
            palette=palette,
            on_progress=bar.update,
        )
    for arm in arms:
        if ARMS[arm] is not None:
            with Bar(f"teacher {arm}") as bar:
                compute_teacher_features(pretrain_config(world, home, arm, 0), on_progress=bar.update)
    trainer = {} if options.steps is None else {"max_steps": options.steps}
    jobs = [
        ArmJob(
            f"{arm} {seed}",
            world,
            home,
            home / f"{arm}-{seed}",
            arm,
            seed,
            arm in group["finetuned"],
            trainer,
        )
        for seed in options.seeds
        for arm in (*arms, HAND_MADE)
    ]
    with Bar("arms", total=len(jobs)) as bar:
        results = run_jobs(
            jobs, on_progress=lambda latest: bar.update(len(latest), note=list(latest)[-1] if latest else "")
        )
    return [{"palette": palette, "world": world_seed, **row} for row in results]


def write_table(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """The JSON and the Markdown of what is there so far."""
    options.table.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "command": shlex.join(["python", *sys.argv]),
        "git": git_state(),
        "versions": versions(),
        "machine": machine(),
        "python": platform.python_version(),
        "rows": rows,
    }
    write_json_atomic(options.table.with_suffix(".json"), record)
    keys = list(dict.fromkeys((row["palette"], row["world"], row["arm"]) for row in rows))
    lines = [
        "| palette | world | arm | seeds | mIoU | fine-tuned, 2 keyframes | last loss (log N) |",
        "|---|---|---|---|---|---|---|",
    ]
    for key in keys:
        of_arm = [row for row in rows if (row["palette"], row["world"], row["arm"]) == key]
        losses = [row["loss"] for row in of_arm if row.get("loss") is not None]
        chance = [row["log_candidates"] for row in of_arm if row.get("log_candidates") is not None]
        loss = f"{np.mean(losses):.2f} ({np.mean(chance):.2f})" if losses else "-"
        finetuned = spread([row["finetuned_miou"] for row in of_arm if "finetuned_miou" in row])
        lines.append(
            f"| {key[0]} | {key[1]} | {key[2]} | {len(of_arm)} | {spread([row['miou'] for row in of_arm])} | "
            f"{finetuned} | {loss} |"
        )
    text = f"Command: `{record['command']}`, commit {record['git']['commit']}.\n\n" + "\n".join(lines) + "\n"
    with atomic_write(options.table.with_suffix(".md")) as stream:
        stream.write(text.encode())


def spread(values: list[float]) -> str:
    """Mean and range."""
    return f"{np.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})" if values else "-"


if __name__ == "__main__":
    main()
