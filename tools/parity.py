"""Helpers that both comparisons with mmdet3d use: clouds, exported weights, differences."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lidardistill.backbones.lidar_bev.config import PRESETS, LidarBevConfig
from lidardistill.backbones.lidar_bev.net import LidarBev
from lidardistill.data.batch import VoxelBatch
from lidardistill.data.collate import collate_voxels
from lidardistill.data.config import VoxelConfig
from lidardistill.data.voxel_input import ScanInput
from lidardistill.export.detector import DetectorFormat, detector_checkpoint

FEATURES = ("x", "y", "z", "intensity", "time_lag")


def two_clouds(settings: Any, seed: int = 0) -> list[np.ndarray]:
    """Two scans (N, 5), a road and walls. No point within a twentieth of a voxel's border: mmdet3d counts in
    float32."""
    rng = np.random.default_rng(seed)
    size, low = np.array(settings.voxel_size), np.array(settings.point_cloud_range[:3])
    clouds = []
    for num in (6000, 2500):
        angle, distance = rng.uniform(-np.pi, np.pi, num), rng.gamma(2.0, 9.0, num) + 2
        z = np.where(rng.random(num) < 0.6, -1.8, rng.uniform(-1.8, 2.5, num))
        xyz = np.stack([distance * np.cos(angle), distance * np.sin(angle), z], axis=1)
        cell = np.floor((xyz - low) / size)
        xyz = low + (cell + rng.uniform(0.05, 0.95, xyz.shape)) * size
        rest = np.stack([rng.uniform(0, 255, num), rng.choice([0.0, 0.05, 0.1], num)], axis=1)
        clouds.append(np.concatenate([xyz, rest], axis=1).astype(np.float32))
    return clouds


def bev_inputs(net: LidarBev, clouds: list[np.ndarray]) -> VoxelBatch:
    """A batch of clouds."""
    voxels = VoxelConfig(
        kind="cartesian", voxel_size=net.voxels.voxel_size, point_cloud_range=net.voxels.point_cloud_range,
        point_features=FEATURES[: clouds[0].shape[1]], reduce="mean",
    )  # fmt: skip
    chosen = ScanInput(voxels, align=1, per_point=True)
    return collate_voxels([chosen.read(cloud) for cloud in clouds])


def draw(net: nn.Module, forward: Callable[[], object], seed: int = 0) -> None:
    """Random weights, BatchNorms with scale and shift, and running statistics of these very inputs."""
    generator = torch.Generator().manual_seed(seed)
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.1, 0.5, generator=generator)
            norm.bias.normal_(0, 0.2, generator=generator)
        before = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        net.train()
        forward()
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
    net.eval()


def exported(net: nn.Module, card: dict[str, Any], kind: DetectorFormat) -> tuple[Path, dict[str, Any]]:
    """What `lidardistill export` writes, and its card."""
    content, card = detector_checkpoint(net.state_dict(), card, kind)
    path = Path(tempfile.mkdtemp()) / "weights.pth"
    torch.save(content, path)
    return path, card


def bev_card(preset: str, net: LidarBev) -> dict[str, Any]:
    voxels = {
        "kind": "cartesian",
        "voxel_size": net.voxels.voxel_size,
        "point_cloud_range": net.voxels.point_cloud_range,
        "point_features": list(FEATURES),
        "intensity_scale": 1.0,
    }
    return {"student": {"kind": "lidar_bev", "preset": preset}, "voxels": voxels, "version": "check"}


def difference(ours: Tensor, theirs: Tensor) -> dict[str, float]:
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return {
        "max_abs_difference": float((ours - theirs).abs().max()),
        "max_abs_value": float(ours.abs().max()),
        "mean_abs_value": float(ours.abs().mean()),
    }


def load_into(model: nn.Module, path: Path, head: str) -> dict[str, int]:
    """mmengine's own loader, as `load_from` uses it; every key of the file and of the backbone must match."""
    from mmengine.runner import load_checkpoint
    from mmengine.runner.checkpoint import CheckpointLoader

    state = CheckpointLoader.load_checkpoint(str(path), map_location="cpu")["state_dict"]
    wanted = {key for key in model.state_dict() if not key.startswith(head)}
    assert wanted == set(state), sorted(wanted ^ set(state))[:5]
    load_checkpoint(model, str(path), map_location="cpu", strict=False, logger="silent")
    return {"keys": len(state)}


SIZES = {
    "voxelnet0075": (0.075, 0.075, 0.2),
    "voxelnet_mini": (0.2,) * 3,
    "pillars02": (0.2, 0.2, 8.0),
    "pillars_mini": (0.4, 0.4, 8.0),
}
"""Voxels of a preset in metres; 0.1, 0.1, 0.2 for the others."""


def filled(preset: str) -> LidarBev:
    """The network of a preset; pillars take mmdet3d's number of points and fill up with zeros, as mmdet3d
    does.
    """
    from lidardistill.export.mmdet3d_parts import MAX_POINTS

    side = 54.0 if preset == "voxelnet0075" else 51.2
    voxels = VoxelConfig(
        kind="cartesian", voxel_size=SIZES.get(preset, (0.1, 0.1, 0.2)), reduce="mean",
        point_cloud_range=(-side, -side, -5.0, side, side, 3.0), point_features=FEATURES,
    )  # fmt: skip
    layers = PRESETS[preset]
    if layers.encoder == "pillars":
        options = layers.encoder_options | {"max_points": MAX_POINTS["pillars"]}
        layers = replace(layers, encoder_options=options)
    return LidarBev(LidarBevConfig(kind="lidar_bev", preset=preset), voxels, layers)


def register() -> None:
    """mmdet3d's modules into its registry."""
    from mmdet3d.utils import register_all_modules

    register_all_modules()
