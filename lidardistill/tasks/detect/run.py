"""Fine-tune a detector, write its detections in nuScenes' format, and have nuscenes-devkit score them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from lidardistill.datasets.base import Source
from lidardistill.datasets.kinds import open_source, source_config
from lidardistill.datasets.label_kinds import open_labels
from lidardistill.datasets.labelled import FrameDetections
from lidardistill.datasets.scan_layout import refuse_other_layout
from lidardistill.engine.distributed import pick_device
from lidardistill.engine.optim import build_optimizer
from lidardistill.engine.run_folder import CONFIG_FILE, METRICS_FILE, write_metrics
from lidardistill.engine.terms import Terms
from lidardistill.tasks.detect.batches import still_keyframes, training_keyframes
from lidardistill.tasks.detect.build import (
    NUM_CLASSES,
    build_detector,
    load_detector,
    load_pretrained,
    parameter_groups,
)
from lidardistill.tasks.detect.center.groups import decode_groups
from lidardistill.tasks.detect.config import DetectConfig
from lidardistill.tasks.detect.detector import Detector
from lidardistill.tasks.detect.sample import Corrupt
from lidardistill.tasks.detect.train import detection_terms
from lidardistill.tasks.rows import rows_of_key, spread
from lidardistill.tasks.runs import UNLABELLED_SPLIT, check_out, on_other_data, read_run, save_model
from lidardistill.tasks.segment.probe import calibrate_batchnorm
from lidardistill.tasks.verb import Learning, Task, Work, execute

if TYPE_CHECKING:
    from lightning_fabric import Fabric


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
        camera_weights: weights of the camera network, if the config has one: a run, a file, or `random`,
            which keeps the weights that the camera config names.
        progress: show progress.

    Returns:
        Content of `metrics.json`; empty on processes other than the first.

    Raises:
        Interrupted: a signal stopped the run; its progress is saved.
    """
    return execute(Detect(config, weights, camera_weights), run, progress=progress).metrics


@dataclass(kw_only=True)
class DetectWork(Work):
    """A detector and its data."""

    model: Detector
    index: Source


class Detect(Task[DetectWork]):
    """Fine-tuning of a detector on boxes."""

    verb: ClassVar[str] = "detect"
    config: DetectConfig

    def __init__(self, config: DetectConfig, weights: str, camera_weights: str = "random") -> None:
        self.config, self.trainer, self.schedule = config, config.trainer, config.schedule
        self.camera_weights = camera_weights
        self.inputs = {"weights": weights}
        if config.camera is not None:
            self.inputs["camera_weights"] = camera_weights

    def build(self, fabric: Fabric) -> DetectWork:
        config, data = self.config, self.config.data
        index = open_source(data)
        rows_of_key(index, "data.eval_split", data.eval_split)
        open_labels(index).box_judge().check(data.eval_split)
        detector = build_detector(config)
        load_pretrained(detector, self.inputs["weights"], self.camera_weights, config.voxels)
        detector.to(fabric.device).train()
        dataset = training_keyframes(config, index)
        refuse_other_layout(index, dataset.rows)

        def terms(batch: Any, step: int, diagnose: bool) -> Terms:
            return detection_terms(detector, batch, box_weight=config.head.box_weight)

        optimizer = build_optimizer(config.optimizer, parameter_groups(detector, config))
        learning = Learning(optimizer, terms, dataset)
        text = f"{len(dataset)} keyframes with boxes of {data.train_split}"
        return DetectWork(model=detector, learning=learning, index=index, data=text)

    def finish(self, work: DetectWork, steps: int, run: Path) -> dict[str, Any]:
        device = next(work.model.parameters()).device
        calibrate_detector(work.model, self.config, work.index, device)
        save_model(work.model, run)
        return _judge(work.model, self.config, work.index, self.config.data.eval_split, run, device)


def evaluate_detector(
    run: Path, split: str, out: Path, *, dataroot: Path | None = None, version: str | None = None
) -> dict[str, Any]:
    """Predict a split with the detector of a finished run and have nuscenes-devkit score it.

    Args:
        run: detection run.
        split: such as val or mini_val; `test` has no boxes, so its detections are not scored.
        out: gets the detections in devkit format and `metrics.json`.
        dataroot, version: other data than those of the run.

    Returns:
        Content of `metrics.json`; empty if nothing was scored.

    Raises:
        FileNotFoundError: `run` is no run, or has not finished.
        ValueError: `run` is a run of another verb, or `out` holds another run.
    """
    check_out(run, out)
    config = on_other_data(read_run(run, DetectConfig), dataroot, version)
    device = pick_device(config.trainer.accelerator)
    index = open_source(config.data)
    return _judge(load_detector(config, run), config, index, split, out, device)


def evaluate_submission(
    submission: Path, dataroot: Path, version: str, split: str, out: Path
) -> dict[str, Any]:
    """Have nuscenes-devkit score a file of detections.

    Returns:
        Content of `metrics.json` in `out`.
    """
    if (out / CONFIG_FILE).is_file():
        raise ValueError(f"{out} holds a run: name another --out")
    source = open_source(source_config("nuscenes", dataroot, version))
    metrics = open_labels(source).box_judge().score(split, submission)
    write_metrics(out / METRICS_FILE, metrics)
    return metrics


def calibrate_detector(detector: Detector, config: DetectConfig, index: Source, device: torch.device) -> None:
    """Recompute BatchNorm statistics on training keyframes without augmentation; reads no boxes."""
    if config.calibration_keyframes == 0:
        return
    rows = spread(index.rows_of_split(config.data.train_split), config.calibration_keyframes)
    calibrate_batchnorm(
        detector.to(device),
        still_keyframes(config, index, rows, device),
        lambda network, batch: network(batch.voxels, batch.camera_inputs()),
    )


def submission_path(out: Path, split: str) -> Path:
    """File of the detections of a split."""
    return out / "detections" / f"{split}.json"


def predictions(
    detector: Detector,
    config: DetectConfig,
    index: Source,
    split: str,
    device: torch.device,
    corrupt: Corrupt | None = None,
) -> Iterator[tuple[str, FrameDetections]]:
    """Sample token and boxes of each keyframe of a split, LiDAR frame."""
    detector.to(device).eval()
    for batch in still_keyframes(config, index, index.rows_of_split(split), device, corrupt):
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
    index: Source,
    split: str,
    out: Path,
    device: torch.device,
) -> dict[str, Any]:
    found = predictions(detector, config, index, split, device)
    meta = {"use_camera": config.camera is not None}
    judge = open_labels(index).box_judge()
    written = judge.write(submission_path(out, split), split, found, meta=meta)
    if split == UNLABELLED_SPLIT:
        return {}
    metrics = judge.score(split, written)
    write_metrics(out / METRICS_FILE, metrics)
    return metrics
