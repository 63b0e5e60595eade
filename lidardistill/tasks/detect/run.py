"""Fine-tune a detector, write what it finds in nuScenes' format, and have nuscenes-devkit score it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lidardistill.datasets.nuscenes.judge_boxes import FrameDetections, score_detections, write_detections
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.engine.distributed import make_fabric, pick_device
from lidardistill.engine.loop import to_the_end
from lidardistill.engine.manifest import Manifest
from lidardistill.engine.run_folder import (
    CONFIG_FILE,
    METRICS_FILE,
    claim_run,
    finished_metrics,
    write_metrics,
)
from lidardistill.tasks.detect.batches import still_keyframes, training_keyframes
from lidardistill.tasks.detect.build import (
    NUM_CLASSES,
    build_detector,
    load_detector,
    load_pretrained,
    save_detector,
)
from lidardistill.tasks.detect.center_groups import decode_groups
from lidardistill.tasks.detect.config import DetectConfig
from lidardistill.tasks.detect.detector import Detector
from lidardistill.tasks.detect.sample import Corrupt
from lidardistill.tasks.detect.train import train_detector
from lidardistill.tasks.rows import split_rows, spread
from lidardistill.tasks.segment.probe import calibrate_batchnorm
from lidardistill.tasks.verb import read_run


def detect(
    config: DetectConfig,
    weights: str,
    run: Path,
    *,
    camera_weights: str = "random",
    progress: bool = True,
) -> dict[str, Any]:
    """Train a detector on a share of the boxes and score it on `data.eval_split`.

    The same command continues an interrupted run.

    Args:
        config: resolved config.
        weights: a pretraining run, an exported file, or `random`.
        run: run folder; a finished one is read, not repeated.
        camera_weights: the same of the camera network, where the config has one; `random` leaves what its config says.
        progress: show progress.

    Returns:
        What `metrics.json` holds; nothing on processes other than the first, which alone judges.

    Raises:
        Interrupted: a signal stopped it; what was done is kept.
    """
    fabric = make_fabric(config.trainer.accelerator, precision=config.trainer.precision)
    main = fabric.is_global_zero
    inputs = {"weights": weights} | ({} if config.camera is None else {"camera_weights": camera_weights})
    if main:
        claim_run(run, "detect", config, **inputs)
    fabric.barrier()
    if (metrics := finished_metrics(run)) is not None:
        return metrics
    index = NuScenesIndex.open(config.data.dataroot, config.data.version)
    detector = build_detector(config)
    load_pretrained(detector, weights, camera_weights, config.voxels)
    dataset = training_keyframes(config, index)
    manifest = Manifest(run / "manifest.json", seed=config.seed, extra=inputs) if main else None
    result = train_detector(config, detector, dataset, run, fabric, progress=progress)
    to_the_end(result, manifest, run)
    if manifest is None:
        return {}
    calibrate_detector(detector, config, index, fabric.device)
    save_detector(detector, run)
    metrics = _judge(detector, config, index, config.data.eval_split, run, fabric.device)
    manifest.finish(nds=metrics["nds"])
    return metrics


def evaluate_detector(run: Path, split: str, out: Path) -> dict[str, Any]:
    """Predict a split with the detector of a finished run and have nuscenes-devkit score it.

    Args:
        run: detection run.
        split: such as val or mini_val.
        out: gets the detections in devkit format and `metrics.json`.

    Returns:
        What `metrics.json` holds.

    Raises:
        FileNotFoundError: `run` is no run, or has not finished.
        ValueError: `run` is a run of another verb, or `out` holds another run.
    """
    if out.resolve() != run.resolve() and (out / CONFIG_FILE).is_file():
        raise ValueError(f"{out} holds another run: name another --out")
    config = read_run(run, DetectConfig)
    device = pick_device(config.trainer.accelerator)
    index = NuScenesIndex.open(config.data.dataroot, config.data.version)
    return _judge(load_detector(config, run), config, index, split, out, device)


def evaluate_submission(
    submission: Path, dataroot: Path, version: str, split: str, out: Path
) -> dict[str, Any]:
    """Have nuscenes-devkit score a file of detections, whoever wrote it.

    Returns:
        What `metrics.json` in `out` holds.
    """
    if (out / CONFIG_FILE).is_file():
        raise ValueError(f"{out} holds a run: name another --out")
    metrics = score_detections(dataroot, version, split, submission)
    write_metrics(out / METRICS_FILE, metrics)
    return metrics


def calibrate_detector(
    detector: Detector, config: DetectConfig, index: NuScenesIndex, device: torch.device
) -> None:
    """BatchNorm statistics of training keyframes as they are: not augmented, boxes unread."""
    if config.calibration_keyframes == 0:
        return
    rows = spread(split_rows(index, config.data.train_split), config.calibration_keyframes)
    calibrate_batchnorm(
        detector.to(device),
        still_keyframes(config, index, rows, device),
        lambda network, batch: network(batch.voxels, batch.camera_inputs()),
    )


def submission_path(out: Path, split: str) -> Path:
    """Where the detections of a split lie."""
    return out / "detections" / f"{split}.json"


def predictions(
    detector: Detector,
    config: DetectConfig,
    index: NuScenesIndex,
    split: str,
    device: torch.device,
    corrupt: Corrupt | None = None,
) -> Iterator[tuple[str, FrameDetections]]:
    """Sample token and boxes of each keyframe of a split, LiDAR frame."""
    detector.to(device).eval()
    for batch in still_keyframes(config, index, split_rows(index, split), device, corrupt):
        with torch.no_grad():
            maps = detector(batch.voxels, batch.camera_inputs())
        found = decode_groups(
            maps,
            num_classes=NUM_CLASSES,
            grid=detector.grid,
            score_threshold=config.head.score_threshold,
            max_boxes=config.head.max_boxes,
        )
        for token, scan in zip(batch.sample_tokens, found, strict=True):
            yield token, FrameDetections(*(part.cpu().numpy() for part in scan))


def _judge(
    detector: Detector,
    config: DetectConfig,
    index: NuScenesIndex,
    split: str,
    out: Path,
    device: torch.device,
) -> dict[str, Any]:
    data = config.data
    found = predictions(detector, config, index, split, device)
    meta = {"use_camera": config.camera is not None}
    path = write_detections(
        submission_path(out, split), data.version, split, found, dataroot=data.dataroot, meta=meta
    )
    metrics = score_detections(data.dataroot, data.version, split, path)
    write_metrics(out / METRICS_FILE, metrics)
    return metrics
