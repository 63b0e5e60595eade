"""Every backbone can be probed and fine-tuned on point labels, also those that make a map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lidardistill.config.io import load_config
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.tasks.pretrain.run import pretrain
from lidardistill.tasks.segment.config import FinetuneConfig, ProbeConfig
from lidardistill.tasks.segment.run import evaluate, finetune, probe
from tests.support.tiny_configs import CONFIGS, tiny_calico

pytest.importorskip("nuscenes", reason="scores come from nuscenes-devkit")

POINTS = 4 * 600  # both validation scenes, two keyframes each
SMALL = (
    "voxels.voxel_size=[0.4, 0.4, 0.4]",
    "voxels.point_cloud_range=[-25.6, -25.6, -6.4, 25.6, 25.6, 6.4]",
)
PILLARS = ("student.preset=pillars_mini", "voxels.voxel_size=[0.4, 0.4, 12.8]")
CHANGES = {"voxelnet_mini": SMALL, "pillars_mini": (*SMALL, *PILLARS)}


@pytest.fixture(scope="module")
def exported(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VoxelNet that CALICO's first stage has pretrained."""
    run = tmp_path_factory.mktemp("prc") / "run"
    assert pretrain(tiny_calico(tiny_world, *SMALL), run, progress=False).exit_code == 0
    return run


def probe_config(root: Path, preset: str, *overrides: str) -> ProbeConfig:
    changes = (f"data.dataroot={root}", *CHANGES[preset])
    return load_config(ProbeConfig, CONFIGS / "probe" / "demo_voxelnet.yaml", (*changes, *overrides))


@pytest.mark.parametrize("preset", CHANGES)
@pytest.mark.parametrize(
    "overrides",
    [("probe.epochs=2", "probe.calibration_keyframes=2"), ("probe={kind: online, epochs: 1}",)],
    ids=["cached", "online"],
)
def test_a_map_is_probed(preset, overrides, tiny_world, exported, tmp_path) -> None:
    weights = str(exported) if preset == "voxelnet_mini" else "random"
    metrics = probe(probe_config(tiny_world, preset, *overrides), weights, tmp_path / "run")
    assert metrics["num_points"] == POINTS
    assert 0 <= metrics["miou"] <= 1
    assert evaluate(tmp_path / "run", "mini_val", tmp_path / "run")["miou"] == metrics["miou"]


@pytest.mark.parametrize("preset", CHANGES)
def test_a_map_is_fine_tuned(preset, tiny_world, exported, tmp_path) -> None:
    config = load_config(
        FinetuneConfig,
        CONFIGS / "finetune" / "demo_voxelnet.yaml",
        (
            f"data.dataroot={tiny_world}",
            "calibration_keyframes=2",
            "schedule.warmup_steps=1",
            "trainer={max_steps: 2, accelerator: cpu, checkpoint_every: 1, log_every: 1}",
            *CHANGES[preset],
        ),
    )
    weights = str(exported) if preset == "voxelnet_mini" else "random"
    metrics = finetune(config, weights, tmp_path / "run")
    assert metrics["num_points"] == POINTS


def test_points_outside_the_map_share_one_class(tiny_world, tmp_path) -> None:
    """They have no features, so all of them get the class that the head gives to zeros."""
    near = "voxels.point_cloud_range=[-12.8, -12.8, -6.4, 12.8, 12.8, 6.4]"
    config = probe_config(
        tiny_world, "voxelnet_mini", near, "probe.epochs=1", "probe.calibration_keyframes=0"
    )
    probe(config, "random", tmp_path / "run")
    index = NuScenesIndex.open(tiny_world, "v1.0-mini")
    low, high = np.array(config.voxels.point_cloud_range).reshape(2, 3)
    classes = set()
    for row in index.rows_of_scenes(["scene-0103", "scene-0916"]).tolist():
        points = index.frame(row).points[:, :3]
        outside = ((points < low) | (points >= high)).any(axis=1)
        (file,) = (tmp_path / "run").rglob(f"{index.lidar_token(row)}_lidarseg.bin")
        classes |= set(np.fromfile(file, np.uint8)[outside].tolist())
        assert outside.any()
    assert len(classes) == 1


def test_voxels_that_a_map_cannot_read_are_named() -> None:
    with pytest.raises(
        ValueError, match=r"voxels\.reduce: student\.preset voxelnet_mini needs mean, got first"
    ):
        probe_config(Path("x"), "voxelnet_mini", "voxels.reduce=first")
