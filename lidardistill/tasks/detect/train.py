"""Training loss of a detector: CenterPoint's."""

from __future__ import annotations

from lidardistill.engine.terms import Terms
from lidardistill.tasks.detect.batch import DetectionBatch
from lidardistill.tasks.detect.build import NUM_CLASSES
from lidardistill.tasks.detect.center.groups import center_loss
from lidardistill.tasks.detect.detector import Detector


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
