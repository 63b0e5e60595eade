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
"""Number of classes of each group of nuScenes' classes."""


def build_detector(config: DetectConfig) -> Detector:
    """Build a detector with seeded weights; its backbone equals the one that pretraining starts from."""
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
    """Load the backbones from pretraining runs or exported files; `random` keeps the weights as built.

    Raises:
        FileNotFoundError, ValueError: raised by `load_student`.
        ValueError: camera weights for a detector without camera network.
    """
    load_student(detector.backbone, weights, voxels)
    if camera_weights == "random":
        return
    if detector.camera is None:
        raise ValueError(f"--camera-weights {camera_weights}: this config has no `camera`")
    load_student(detector.camera, camera_weights, option="--camera-weights")


def parameter_groups(detector: Detector, config: DetectConfig) -> list[dict[str, Any]]:
    """Parameter groups: pretrainable networks with their own learning rate, and the other layers."""
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
    """Detector of a finished run, in eval mode; raises FileNotFoundError if the run has not finished."""
    return load_model(build_detector(config), run)
