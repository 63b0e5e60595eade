"""A world of noise is a nuScenes root like any other."""

from __future__ import annotations

from pathlib import Path

from lidardistill.datasets.nuscenes.labels.points import read_lidarseg
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.geometry.projection import pair_points
from lidardistill.synthetic.write.dataset import write_world
from lidardistill.synthetic.write.noise import record_noise


def test_it_can_be_read_every_camera_sees_points_and_every_point_has_a_label(tmp_path: Path) -> None:
    arguments = {"train_scenes": 1, "val_scenes": 0, "keyframes": 2, "image_size": (45, 80), "workers": 1}
    root = write_world(tmp_path / "world", **arguments, record=record_noise)  # type: ignore[arg-type]
    index = NuScenesIndex.open(root, "v1.0-mini")
    assert len(index) == 2
    frame = index.frame(0)
    pairs = pair_points(frame.points, frame.lidar2cam, frame.cam2img, frame.image_size)
    assert set(pairs.pairing_images[:, 0].tolist()) == set(range(6))
    assert read_lidarseg(index, 0).shape == frame.points.shape[:1]
    assert read_lidarseg(index, 0).min() > 0
