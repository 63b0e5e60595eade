"""A detector from its config, with the weights of a pretraining run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lidardistill.data.config import VoxelConfig
from lidardistill.exchange.of_run import load_student
from lidardistill.tasks.detect.bev_fusion import ConvFuser
from lidardistill.tasks.detect.center.head import TASKS, CenterHead
from lidardistill.tasks.detect.config import DetectConfig
from lidardistill.tasks.detect.detector import Detector
from lidardistill.tasks.runs import load_model

NUM_CLASSES = tuple(map(len, TASKS))
"""Of each group of nuScenes' classes."""


def build_detector(config: DetectConfig) -> Detector:
    """A detector whose first weights follow from the seed; the backbone's are those that pretraining
    starts from.
    """
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        backbone = config.student.build(config.voxels)
        camera = None if config.camera is None else config.camera.build()
        fuser = (
            None
            if camera is None
            else ConvFuser(backbone.out_channels, camera.out_channels, backbone.out_channels)
        )
        head = CenterHead(backbone.out_channels, NUM_CLASSES, config.head.width)
        return Detector(backbone, head, camera, fuser)


def load_pretrained(
    detector: Detector, weights: str, camera_weights: str = "random", voxels: VoxelConfig | None = None
) -> None:
    """Fill the backbones from pretraining runs or exported files; `random` leaves one as it was built.

    Raises:
        FileNotFoundError, ValueError: of `load_student`.
        ValueError: weights for a camera network where there is none.
    """
    load_student(detector.backbone, weights, voxels)
    if camera_weights == "random":
        return
    if detector.camera is None:
        raise ValueError(f"--camera-weights {camera_weights}: this config has no `camera`")
    load_student(detector.camera, camera_weights, option="--camera-weights")


def parameter_groups(detector: Detector, config: DetectConfig) -> list[dict[str, Any]]:
    """The networks that pretraining may have filled with their own learning rate, and the rest."""
    pretrained = list(detector.backbone.parameters())
    if detector.camera is not None:
        pretrained += detector.camera.parameters()
    known = set(map(id, pretrained))
    new = [parameter for parameter in detector.parameters() if id(parameter) not in known]
    return [
        {"params": new, "lr": config.optimizer.lr},
        {"params": pretrained, "lr": config.optimizer.lr * config.lr_backbone},
    ]


def load_detector(config: DetectConfig, run: Path) -> Detector:
    """The detector that a run left, in eval mode; raises FileNotFoundError if the run has not finished."""
    return load_model(build_detector(config), run)
