"""A student that makes a map is pretrained by SLidR and shown like one of voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lidardistill.showcase.showcase import write_showcase
from lidardistill.showcase.trained import Trained
from lidardistill.tasks.pretrain.run import pretrain
from tests.support.tiny_configs import tiny_pretrain

STUDENTS = {"voxelnet_mini": (0.4, 0.4, 0.4), "pillars_mini": (0.4, 0.4, 12.8)}


@pytest.mark.parametrize("preset", STUDENTS)
def test_slidr_trains_and_shows_a_map(preset: str, tiny_world: Path, tmp_path: Path) -> None:
    config = tiny_pretrain(
        tiny_world,
        None,
        f"student={{kind: lidar_bev, preset: {preset}}}",
        f"voxels={{kind: cartesian, voxel_size: {list(STUDENTS[preset])}, "
        "point_features: [x, y, z, intensity], reduce: mean}",
        "voxels.point_cloud_range=[-25.6, -25.6, -6.4, 25.6, 25.6, 6.4]",
        "trainer.max_steps=2",
    )
    assert pretrain(config, tmp_path / "run", progress=False).exit_code == 0
    shown = np.load(write_showcase(Trained.open(tmp_path / "run"), tmp_path / "showcase.npz"))
    assert shown["pca_points"].shape == (len(shown["points"]), 3)
    assert shown["point_mask"].any()
    assert np.isfinite(shown["position_r2"]).all()
    assert np.abs(shown["similarity_points"].astype(float)).max() <= 1.001
