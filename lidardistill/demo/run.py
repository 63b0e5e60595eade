"""The demo: a world, three backbones, their probes, and a machine-readable summary."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lidardistill.atomic import write_json_atomic
from lidardistill.demo.experiment import ARMS as PRETRAINING_ARMS
from lidardistill.demo.experiment import HAND_MADE, pretrain_config
from lidardistill.demo.parallel_arms import ArmJob, compute_teacher_features, run_jobs, start_process_server
from lidardistill.demo.rehearsal import rehearsal
from lidardistill.demo.stages import Stages
from lidardistill.synthetic.write.dataset import write_world

ARMS = ("pretrained", "random", "permuted")
SEED = 0
IMAGE_SIZE = (288, 512)
"""Height, width of the demo's pictures in pixels; its networks see them at 224x400."""
SUMMARY_FILE = "summary.json"

Progress = Callable[[str, int, int], None]
"""Called with (note, done, total)."""


def build_world(out: Path, stages: Stages, on_progress: Progress) -> Path:
    """Render the embedded driving world; compile the training kernels in parallel."""
    world = out / "world"
    start_process_server()
    with stages.stage("world"), nullcontext() if world.exists() else rehearsal():
        return write_world(
            world,
            image_size=IMAGE_SIZE,
            on_progress=lambda done, total, _: on_progress("world", done, total),
        )


def prepare(out: Path, world: Path, stages: Stages, on_progress: Progress) -> None:
    """Compute superpixels and their teacher features once: the demo's images never change."""
    with stages.stage("teacher"):
        compute_teacher_features(
            pretrain_config(world, out, "pretrained", SEED),
            on_progress=lambda done, total: on_progress("", done, total),
        )


def run_arms(
    out: Path, world: Path, stages: Stages, on_progress: Progress
) -> dict[str, list[dict[str, Any]]]:
    """Pretrain (if the arm pretrains), probe and score each arm with nuscenes-devkit; two at a time.

    Returns:
        Name -> list of one result, for each of `ARMS` and for the probe without a network.
    """
    names = (*ARMS, HAND_MADE)
    longest_first = sorted(names, key=lambda name: PRETRAINING_ARMS.get(name) is None)
    jobs = [ArmJob(name, world, out, out / name, name, SEED) for name in longest_first]
    steps = pretrain_config(world, out, "pretrained", SEED).trainer.max_steps or 0
    total = steps * sum(PRETRAINING_ARMS[arm] is not None for arm in ARMS)

    def report(latest: dict[str, tuple[int, dict[str, float]]]) -> None:
        note = ", ".join(f"{arm}: loss {values['loss_window']:.2f}" for arm, (_, values) in latest.items())
        waits = [values["data_wait_share"] for _, values in latest.values()]
        note += f", data wait {max(waits):.0%}" if waits else ""
        on_progress(note, sum(step for step, _ in latest.values()), total)

    with stages.stage("arms"):
        results = dict(zip(longest_first, run_jobs(jobs, on_progress=report), strict=True))
    return {name: [results[name]] for name in names}


def summarise(out: Path, results: dict[str, list[dict[str, Any]]], stages: Stages) -> dict[str, Any]:
    """Write `summary.json`.

    Returns:
        `pretrained`, `random`, `permuted`: mIoU in percent, one value for each seed; `hand_made`: the same
        for a linear model on intensity, height and range; `seeds`; `losses`; `seconds` and `memory_mb` by
        stage.
    """
    summary = {
        **{arm: [round(result["miou"], 3) for result in runs] for arm, runs in results.items()},
        "seeds": [SEED],
        "losses": {
            arm: [{key: result[key] for key in ("loss", "log_candidates")} for result in runs]
            for arm, runs in results.items()
            if "loss" in runs[0]
        },
        "seconds": {**stages.seconds, "total": round(sum(stages.seconds.values()), 2)},
        "memory_mb": stages.memory_mb,
    }
    write_json_atomic(out / SUMMARY_FILE, summary)
    return summary
