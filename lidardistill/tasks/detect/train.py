"""Train a detector: CenterPoint's losses through the same loop as everything else."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lidardistill.data.quarantine import Quarantine
from lidardistill.engine.data_wait import data_wait_advice
from lidardistill.engine.logging import RunLogger
from lidardistill.engine.loop import LoopResult, loop_settings
from lidardistill.engine.optim import build_optimizer, build_schedule
from lidardistill.engine.terms import Terms
from lidardistill.tasks.detect.batch import DetectionBatch
from lidardistill.tasks.detect.build import NUM_CLASSES, parameter_groups
from lidardistill.tasks.detect.center_groups import center_loss
from lidardistill.tasks.detect.config import DetectConfig
from lidardistill.tasks.detect.detector import Detector
from lidardistill.tasks.detect.sample import DetectionDataset, collate_detection
from lidardistill.tasks.training import train_labelled

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train_detector(
    config: DetectConfig,
    detector: Detector,
    dataset: DetectionDataset,
    run: Path,
    fabric: Fabric,
    *,
    progress: bool = True,
) -> LoopResult:
    """Minimise CenterPoint's losses; the detector ends as the last step, or the moving average, left it.

    Args:
        config: resolved config.
        detector: moves to the device of the run.
        dataset: augmented keyframes with boxes.
        run: run folder.
        fabric: of `distributed.make_fabric`.
        progress: show progress.

    Raises:
        ValueError: the batch cannot be shared out, or the schedule does not fit the length of the run.
    """
    data = config.data
    detector.to(fabric.device).train()
    result = train_labelled(
        fabric,
        detector,
        lambda batch: detection_terms(detector, batch, box_weight=config.head.box_weight),
        build_optimizer(config.optimizer, parameter_groups(detector, config)),
        dataset,
        collate_detection,
        run,
        RunLogger(
            run,
            write=fabric.is_global_zero,
            progress=progress,
            label="detect",
            data_wait_advice=data_wait_advice(data.num_workers),
        ),
        batch_size=data.batch_size,
        num_workers=data.num_workers,
        seed=config.seed,
        what="keyframes",
        epochs=config.trainer.epochs,
        max_steps=config.trainer.max_steps,
        settings_of=partial(loop_settings, config.trainer),
        schedule_of=partial(build_schedule, config.schedule),
        config=config.model_dump(mode="json"),
        quarantine=Quarantine(run / f"quarantine{fabric.global_rank or ''}.json", data.max_corrupt),
    )
    if result.ema is not None and not result.interrupted:
        result.ema.copy_to(detector)
    return result


def detection_terms(detector: Detector, batch: DetectionBatch, *, box_weight: float) -> Terms:
    """CenterPoint's losses of a batch."""
    maps = detector(batch.voxels, batch.camera_inputs())
    loss = center_loss(
        maps, batch.boxes, batch.labels, num_classes=NUM_CLASSES, grid=detector.grid, box_weight=box_weight
    )
    return Terms(
        loss=loss.total,
        losses={"heatmap": loss.heatmap.detach(), "box": loss.box.detach()},
        counts={"boxes": loss.num_boxes, "voxels": len(batch.voxels.voxel_coords)},
    )
