"""Train a detector: CenterPoint's losses through the same loop as everything else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lidardistill.config.detect import DetectConfig
from lidardistill.data.detection import DetectionDataset, collate_detection
from lidardistill.data.detection_batch import DetectionBatch
from lidardistill.data.loader import make_loader, warm_up
from lidardistill.data.quarantine import Quarantine
from lidardistill.data.sampler import EpochOrder, StepSampler
from lidardistill.engine.build import build_optimizer, build_schedule, loop_settings
from lidardistill.engine.data_wait import data_wait_advice
from lidardistill.engine.detector import NUM_CLASSES, detector_inputs, parameter_groups
from lidardistill.engine.logging import RunLogger
from lidardistill.engine.loop import LoopResult, run_loop
from lidardistill.engine.run_folder import FREE_KEYS
from lidardistill.methods.terms import Terms
from lidardistill.models.detector import Detector
from lidardistill.objectives.center_groups import center_loss

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
    trainer, data = config.trainer, config.data
    detector.to(fabric.device).train()
    parts = fabric.world_size * trainer.accumulate
    per_batch, rest = divmod(data.batch_size, parts)
    if rest or per_batch == 0:
        raise ValueError(
            f"data.batch_size: {data.batch_size} keyframes cannot be shared out evenly over {parts} batches"
        )
    steps_per_epoch = len(dataset) / data.batch_size
    steps = trainer.max_steps or math.ceil((trainer.epochs or 1) * steps_per_epoch)
    quarantine = Quarantine(run / f"quarantine{fabric.global_rank or ''}.json", data.max_corrupt)

    def batches(start: int) -> Iterator[DetectionBatch]:
        order = EpochOrder(len(dataset), config.seed)
        sampler = StepSampler(order, per_batch, fabric.global_rank, fabric.world_size, start)
        if data.num_workers:
            warm_up(dataset)  # compile numba kernels here, not in every worker
        pin_memory = fabric.device.type == "cuda"
        return iter(make_loader(dataset, sampler, collate_detection, data.num_workers, pin_memory))

    result = run_loop(
        fabric,
        lambda batch, step: detection_terms(detector, batch, box_weight=config.head.box_weight),
        detector,
        build_optimizer(config.optimizer, parameter_groups(detector, config)),
        build_schedule(config.schedule, steps=steps, steps_per_epoch=steps_per_epoch),
        batches,
        loop_settings(trainer, steps),
        run,
        RunLogger(
            run,
            write=fabric.is_global_zero,
            progress=progress,
            label="detect",
            data_wait_advice=data_wait_advice(data.num_workers),
        ),
        quarantine,
        config=config.model_dump(mode="json"),
        may_differ=FREE_KEYS,
    )
    if result.ema is not None and not result.interrupted:
        result.ema.copy_to(detector)
    return result


def detection_terms(detector: Detector, batch: DetectionBatch, *, box_weight: float) -> Terms:
    """CenterPoint's losses of a batch."""
    maps = detector(**detector_inputs(batch))
    loss = center_loss(
        maps, batch.boxes, batch.labels, num_classes=NUM_CLASSES, grid=detector.grid, box_weight=box_weight
    )
    return Terms(
        loss=loss.total,
        losses={"heatmap": loss.heatmap.detach(), "box": loss.box.detach()},
        counts={"boxes": loss.num_boxes, "voxels": len(batch.voxels.voxel_coords)},
    )
