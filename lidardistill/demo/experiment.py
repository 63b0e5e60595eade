"""Arms of an experiment: same world, probe and seeds; only the backbone's weights have another origin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lidardistill.config.io import read_shipped, validate
from lidardistill.datasets.kinds import open_source
from lidardistill.datasets.label_kinds import open_labels
from lidardistill.engine.loop import LogCallback
from lidardistill.engine.run_folder import METRICS_FILE, finished_metrics, write_metrics
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.pretrain.run import pretrain
from lidardistill.tasks.segment.baselines import hand_made_features, hand_made_probe_features
from lidardistill.tasks.segment.config import CachedProbeConfig, FinetuneConfig, ProbeConfig
from lidardistill.tasks.segment.probe import ProbeFeatures, fit_linear
from lidardistill.tasks.segment.run import finetune, of_file, probe
from lidardistill.tasks.segment.scan_batches import labelled_rows, still_scans

ARMS: dict[str, dict[str, Any] | None] = {
    "pretrained": {},
    "random": None,
    "permuted": {"method": {"pairing": "permuted"}},
    "other_keyframe": {"method": {"pairing": "other_keyframe"}},
    "color_histogram": {"teacher": {"kind": "color_histogram"}},
    "random_teacher": {"teacher": {"kind": "random_efficientnet_lite0"}},
    "bevcontrast": {},
}
"""Arm -> its changes to the pretraining config; None for an arm without pretraining."""

HAND_MADE = "hand_made"
"""Name of the baseline without a backbone, see `run_hand_made`."""

BASES = {"bevcontrast": "pretrain/demo_bevcontrast"}
"""Arm -> recipe, for arms that do not use `pretrain/demo`."""


def pretrain_config(world: Path, cache: Path, arm: str, seed: int, **trainer: Any) -> PretrainConfig:
    """Return the demo-sized pretraining config for one arm and seed on a world."""
    base = BASES.get(arm, "pretrain/demo")
    values = read_shipped(base)
    changes = ARMS[arm]
    if changes is None:
        raise ValueError(f"arm {arm} does not pretrain")
    for key, change in changes.items():
        # Another kind has other keys, so remove all old ones.
        values[key] = change if "kind" in change else {**values.get(key, {}), **change}
    values["seed"] = seed
    values["data"]["dataroot"] = str(world)
    if "teacher" in values:
        values["data"]["superpixels"]["cache"] = str(cache / "superpixels")
        values["teacher_cache"] = str(cache / "teacher")
    values["trainer"].update(trainer)
    return validate(PretrainConfig, values, source=f"configs/{base}.yaml")


def probe_config(world: Path, seed: int) -> ProbeConfig:
    values = read_shipped("probe/demo")
    values["seed"] = seed
    values["data"]["dataroot"] = str(world)
    return validate(ProbeConfig, values, source="configs/probe/demo.yaml")


def finetune_config(world: Path, seed: int) -> FinetuneConfig:
    values = read_shipped("finetune/demo")
    values["seed"] = seed
    values["data"]["dataroot"] = str(world)
    return validate(FinetuneConfig, values, source="configs/finetune/demo.yaml")


def run_arm(
    world: Path,
    cache: Path,
    out: Path,
    arm: str,
    seed: int,
    *,
    finetuned: bool = False,
    on_log: Sequence[LogCallback] = (),
    progress: bool = True,
    **trainer: Any,
) -> dict[str, Any]:
    """Pretrain one arm (if the arm pretrains), probe it, and fine-tune it if `finetuned`.

    Args:
        world: nuScenes root of the world.
        cache: superpixels and teacher features, shared by the arms of a world.
        out: parent folder of `pretrain`, `probe` and `finetune`.
        arm: key of `ARMS`.
        seed: seed of initial weights, order and augmentation.
        finetuned: also fine-tune on two labelled keyframes.
        on_log: called with each line of pretraining metrics.
        progress: show progress.
        trainer: keys of the pretraining config's `trainer` to change.

    Returns:
        miou (percent), iou by class, loss (mean over the last metrics window), log_candidates,
        finetuned_miou.
    """
    result: dict[str, Any] = {"arm": arm, "seed": seed}
    weights = "random"
    if ARMS[arm] is not None:
        config = pretrain_config(world, cache, arm, seed, **trainer)
        done = pretrain(config, out / "pretrain", label=arm, progress=progress, on_log=on_log)
        weights = str(out / "pretrain")
        result["loss"] = done.metrics.get("loss_window")
        result["log_candidates"] = done.metrics.get("log_candidates")
        result["pretrain_seconds"] = round(done.seconds, 1)
    metrics = probe(probe_config(world, seed), weights, out / "probe")
    result["miou"] = 100 * metrics["miou"]
    result["iou"] = {name: None if value is None else 100 * value for name, value in metrics["iou"].items()}
    if finetuned:
        result["finetuned_miou"] = (
            100 * finetune(finetune_config(world, seed), weights, out / "finetune")["miou"]
        )
    return result


def run_hand_made(world: Path, out: Path, seed: int) -> dict[str, Any]:
    """Run the same probe on intensity, height and range instead of features.

    Args:
        world: nuScenes root of the world.
        out: folder for predictions and metrics; a finished result there is reused.
        seed: seed of the linear layer.

    Returns:
        arm, seed, miou (percent).
    """
    metrics = finished_metrics(out)
    if metrics is None:
        metrics = _score_hand_made(world, out, seed)
    return {"arm": HAND_MADE, "seed": seed, "miou": 100 * metrics["miou"]}


def _score_hand_made(world: Path, out: Path, seed: int) -> dict[str, Any]:
    config = probe_config(world, seed)
    assert isinstance(config.probe, CachedProbeConfig)
    index, cpu = open_source(config.data), torch.device("cpu")
    labels = open_labels(index)
    voxels = config.student.scan_input(config.voxels)
    scans = still_scans(config.data, index, labelled_rows(config.data, index), voxels, cpu, labels=True)
    parts = [hand_made_probe_features(scan.points, scan.labels()) for scan in scans]
    train = ProbeFeatures(torch.cat([p.features for p in parts]), torch.cat([p.targets for p in parts]))
    generator = torch.Generator().manual_seed(seed)
    head = fit_linear(train, len(labels.points().classes), config.probe, generator=generator)
    split = config.data.val_split
    validation = still_scans(config.data, index, index.rows_of_split(split), voxels, cpu, labels=False)
    predicted = (
        (
            scan.rows[0],
            of_file(head(hand_made_features(scan.points)).argmax(1).byte().numpy(), scan.kept[0]),
        )
        for scan in validation
    )
    with torch.no_grad():
        labels.point_judge().write(out, split, predicted)
    metrics = labels.point_judge().score(split, out)
    write_metrics(out / METRICS_FILE, metrics)
    return metrics
