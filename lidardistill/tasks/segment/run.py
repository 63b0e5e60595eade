"""Judge a backbone: linear probe, fine-tuning, and the official score of either."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lidardistill.backbones.base import Backbone
from lidardistill.backbones.config import BackboneConfig
from lidardistill.data.batch import VoxelBatch
from lidardistill.data.config import VoxelConfig
from lidardistill.data.voxel_input import ScanInput
from lidardistill.datasets.nuscenes.judge_points import score, write_predictions
from lidardistill.datasets.nuscenes.lidarseg_classes import NUM_CLASSES
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.engine.distributed import pick_device
from lidardistill.engine.loop import to_the_end
from lidardistill.engine.manifest import Manifest
from lidardistill.engine.run_folder import (
    CONFIG_FILE,
    METRICS_FILE,
    claim_run,
    finished_metrics,
    run_values,
    write_metrics,
)
from lidardistill.exchange.of_run import load_student
from lidardistill.tasks.rows import open_index, split_rows, spread
from lidardistill.tasks.segment.classifier import Classifier, load_classifier, save_classifier, seeded_head
from lidardistill.tasks.segment.config import CachedProbeConfig, FinetuneConfig, ProbeConfig, ScanDataConfig
from lidardistill.tasks.segment.probe import calibrate_batchnorm, extract_features, fit_linear, predict_points
from lidardistill.tasks.segment.scan_batches import labelled_rows, still_scans, training_scans
from lidardistill.tasks.segment.train import Recipe, train_classifier
from lidardistill.tasks.verb import read_run


def probe(config: ProbeConfig, weights: str, run: Path) -> dict[str, Any]:
    """Fit a linear layer on a frozen backbone and score it on `data.val_split`.

    Args:
        config: resolved config.
        weights: a pretraining run, an exported file, or `random`.
        run: run folder; a finished one is read, not repeated.

    Returns:
        What `metrics.json` holds.
    """
    claim_run(run, "probe", config, weights=weights)
    if (metrics := finished_metrics(run)) is not None:
        return metrics
    device = pick_device(config.accelerator)
    index = open_index(config.data)
    backbone = seeded_student(config.student, config.voxels, config.seed)
    load_student(backbone, weights, config.voxels)
    manifest = Manifest(run / "manifest.json", seed=config.seed, extra={"weights": weights})
    backbone.to(device)
    generator = torch.Generator().manual_seed(config.seed)
    if isinstance(config.probe, CachedProbeConfig):
        calibrate(backbone, config.data, config.student.scan_input(config.voxels), index, config.probe.calibration_keyframes, device)
        scans = still_scans(
            config.data,
            index,
            labelled_rows(config.data, index),
            config.student.scan_input(config.voxels),
            device,
            labels=True,
        )
        features = extract_features(backbone, ((scan.voxels, scan.labels()) for scan in scans))
        settings = config.probe.model_dump(include={"epochs", "lr", "batch_points"})
        head = fit_linear(features, NUM_CLASSES, generator=generator, **settings)
    else:
        head = seeded_head(backbone.out_channels, NUM_CLASSES, generator)
        dataset = training_scans(
            config.data,
            index,
            labelled_rows(config.data, index),
            config.student.scan_input(config.voxels),
            config.seed,
        )
        recipe = Recipe.online_probe(config, config.probe)
        to_the_end(train_classifier(recipe, Classifier(backbone, head), dataset, run), manifest, run)
    save_classifier(Classifier(backbone, head), run)
    metrics = evaluate(run, config.data.val_split, run)
    manifest.finish(miou=metrics["miou"])
    return metrics


def finetune(config: FinetuneConfig, weights: str, run: Path) -> dict[str, Any]:
    """Train backbone and head on a share of the labels and score them on `data.val_split`.

    The same command continues an interrupted run.

    Returns:
        What `metrics.json` holds.
    """
    claim_run(run, "finetune", config, weights=weights)
    if (metrics := finished_metrics(run)) is not None:
        return metrics
    device = pick_device(config.trainer.accelerator)
    index = open_index(config.data)
    backbone = seeded_student(config.student, config.voxels, config.seed)
    load_student(backbone, weights, config.voxels)
    manifest = Manifest(run / "manifest.json", seed=config.seed, extra={"weights": weights})
    head = seeded_head(backbone.out_channels, NUM_CLASSES, torch.Generator().manual_seed(config.seed))
    dataset = training_scans(
        config.data,
        index,
        labelled_rows(config.data, index),
        config.student.scan_input(config.voxels),
        config.seed,
    )
    model = Classifier(backbone, head).to(device)
    to_the_end(train_classifier(Recipe.finetune(config), model, dataset, run), manifest, run)
    calibrate(backbone, config.data, config.student.scan_input(config.voxels), index, config.calibration_keyframes, device)
    save_classifier(model, run)
    metrics = evaluate(run, config.data.val_split, run)
    manifest.finish(miou=metrics["miou"])
    return metrics


def evaluate(run: Path, split: str, out: Path) -> dict[str, Any]:
    """Predict every raw point of a split and have nuscenes-devkit score it.

    Args:
        run: probe or fine-tuning run.
        split: such as val or mini_val.
        out: gets the predictions in devkit format and `metrics.json`.

    Returns:
        What `metrics.json` holds.

    Raises:
        FileNotFoundError: `run` is no run, or has not finished.
        ValueError: `run` is a pretraining run, or `out` holds another run.
    """
    if out.resolve() != run.resolve() and (out / CONFIG_FILE).is_file():
        raise ValueError(f"{out} holds another run: name another --out")
    model, config, device = open_classifier(run)
    index = open_index(config.data)
    write_predictions(
        out, config.data.version, split, predictions(model, config.data, config.student.scan_input(config.voxels), index, split, device),
        dataroot=config.data.dataroot,
    )  # fmt: skip
    metrics = score(config.data.dataroot, config.data.version, split, out)
    write_metrics(out / METRICS_FILE, metrics)
    return metrics


def open_classifier(run: Path) -> tuple[Classifier, FinetuneConfig | ProbeConfig, torch.device]:
    """The classifier of a finished run, on its device, with the run's config.

    Raises:
        FileNotFoundError: `run` is no run, or has not finished.
        ValueError: `run` is a pretraining run.
    """
    config: FinetuneConfig | ProbeConfig
    verb = run_values(run).get("verb")
    if verb == "finetune":
        config = read_run(run, FinetuneConfig)
        accelerator = config.trainer.accelerator
    elif verb != "probe":
        raise ValueError(
            f"{run} is a {verb} run and names no classes: expected the run of `lidardistill probe` or "
            "`lidardistill finetune`"
        )
    else:
        config = read_run(run, ProbeConfig)
        accelerator = config.accelerator
    device = pick_device(accelerator)
    model = load_classifier(config.student.build(config.voxels), NUM_CLASSES, run)
    return model.to(device), config, device


def predictions(
    model: Classifier,
    data: ScanDataConfig,
    voxels: ScanInput,
    index: NuScenesIndex,
    split: str,
    device: torch.device,
) -> Iterator[tuple[str, np.ndarray]]:
    """LIDAR_TOP token and (N,) uint8 class 1..16 of each keyframe of a split."""
    for batch in still_scans(
        data, index, split_rows(index, split), voxels, device, labels=False
    ):
        classes = predict_points(model.backbone, model.head, batch.voxels).cpu().numpy() + 1
        bounds = batch.point_offsets.tolist()
        for row, start, end in zip(batch.rows, bounds, bounds[1:], strict=False):
            yield index.lidar_token(row), classes[start:end].astype(np.uint8)


def calibrate(
    backbone: Backbone,
    data: ScanDataConfig,
    voxels: ScanInput,
    index: NuScenesIndex,
    keyframes: int,
    device: torch.device,
) -> None:
    """Recompute BatchNorm statistics on unaugmented, unlabelled training scans; none where `keyframes` is 0."""
    if keyframes == 0:
        return
    rows = spread(split_rows(index, data.train_split), keyframes)
    calibrate_batchnorm(backbone, voxel_batches(data, voxels, index, rows, device))


def voxel_batches(
    data: ScanDataConfig, voxels: ScanInput, index: NuScenesIndex, rows: np.ndarray, device: torch.device
) -> Iterator[VoxelBatch]:
    for scan in still_scans(data, index, rows, voxels, device, labels=False):
        yield scan.voxels


def seeded_student(student: BackboneConfig, voxels: VoxelConfig, seed: int) -> Backbone:
    """A backbone whose first weights follow from the seed, the same ones that pretraining starts from."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return student.build(voxels)
