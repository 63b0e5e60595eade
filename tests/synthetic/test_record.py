"""What the embedded world's sensors see, small enough for a test."""

from __future__ import annotations

import numpy as np
import pytest

from lidardistill.data.lidarseg_classes import RAW_TO_CLASS
from lidardistill.geometry.projection import pair_points
from lidardistill.geometry.rigid import invert_rigid
from lidardistill.synthetic.camera_render import render
from lidardistill.synthetic.record import record_scene
from lidardistill.synthetic.recording import Keyframe, LidarScan, SceneRecording
from lidardistill.synthetic.rig import make_rig
from lidardistill.synthetic.world import build_scene

SIZE = (90, 160)


def drive(seed: int, keyframes: int = 1, palette: str = "natural") -> tuple[SceneRecording, list[Keyframe]]:
    recording = record_scene("scene-0061", seed, keyframes=keyframes, image_size=SIZE, palette=palette)
    return recording, list(recording.keyframes)


@pytest.fixture(scope="module")
def seen() -> tuple[SceneRecording, list[Keyframe]]:
    return drive(3, keyframes=3)


def test_the_same_seed_gives_the_same_bytes(seen: tuple[SceneRecording, list[Keyframe]]) -> None:
    (_, first), (_, again) = seen, drive(3, keyframes=3)
    for a, b in zip(first, again, strict=True):
        assert a.lidar.points.tobytes() == b.lidar.points.tobytes()
        assert all(x.image.tobytes() == y.image.tobytes() for x, y in zip(a.images, b.images, strict=True))


def test_another_seed_is_another_world(seen: tuple[SceneRecording, list[Keyframe]]) -> None:
    _, other = drive(4)
    assert other[0].lidar.points.shape != seen[1][0].lidar.points.shape


def test_scans_look_like_nuscenes(seen: tuple[SceneRecording, list[Keyframe]]) -> None:
    for keyframe in seen[1]:
        scan = keyframe.lidar
        assert 25_000 < len(scan.points) < 36_000
        assert set(np.unique(scan.points[:, 4]).tolist()) == set(range(32))
        assert 0 <= scan.points[:, 3].min() <= scan.points[:, 3].max() <= 255
        assert np.linalg.norm(scan.points[:, :3], axis=1).max() < 105
        assert len(keyframe.sweeps) == 1
        assert keyframe.sweeps[0].timestamp_us < scan.timestamp_us


def test_every_class_is_there(seen: tuple[SceneRecording, list[Keyframe]]) -> None:
    labels = np.concatenate([keyframe.lidar.labels for keyframe in seen[1]])
    assert set(np.unique(RAW_TO_CLASS[labels]).tolist()) == set(range(17))


def test_clocks_and_poses_belong_together(seen: tuple[SceneRecording, list[Keyframe]]) -> None:
    _, keyframes = seen
    for keyframe in keyframes:
        for image in keyframe.images:
            apart_s = abs(image.timestamp_us - keyframe.lidar.timestamp_us) / 1e6
            moved_m = np.linalg.norm(image.ego2global[:3, 3] - keyframe.lidar.ego2global[:3, 3])
            assert apart_s < 0.06
            assert moved_m < 20 * apart_s + 1e-9
        assert len({image.timestamp_us for image in keyframe.images}) == len(keyframe.images)
    gaps = np.diff([keyframe.lidar.timestamp_us for keyframe in keyframes]) / 1e6
    np.testing.assert_allclose(gaps, 0.5, atol=0.01)


def inside(
    scan: LidarScan, lidar2global: np.ndarray, centre: np.ndarray, size_wlh: np.ndarray, yaw: float
) -> int:
    """Points in a box, by its definition."""
    points = scan.points[:, :3].astype(np.float64) @ lidar2global[:3, :3].T + lidar2global[:3, 3] - centre
    along = points[:, 0] * np.cos(yaw) + points[:, 1] * np.sin(yaw)
    across = -points[:, 0] * np.sin(yaw) + points[:, 1] * np.cos(yaw)
    width, length, height = size_wlh / 2
    return int(((abs(along) <= length) & (abs(across) <= width) & (abs(points[:, 2]) <= height)).sum())


def test_boxes_hold_the_points_they_claim(seen: tuple[SceneRecording, list[Keyframe]]) -> None:
    recording, keyframes = seen
    scan = keyframes[0].lidar
    lidar2global = scan.ego2global @ recording.rig.lidar2ego
    boxes = [box for box in keyframes[0].boxes if box.num_lidar_pts > 20]
    assert len(boxes) >= 10
    for box in boxes:
        counted = inside(scan, lidar2global, box.center, box.size_wlh, box.yaw_rad)
        assert counted == pytest.approx(box.num_lidar_pts, abs=2)


def test_points_land_on_pixels_of_their_class() -> None:
    """One instant, all sensors: what the LiDAR hits and the camera sees at the same depth has the same class."""
    from lidardistill.synthetic.lidar_scan import scan

    world, rig = build_scene(3, duration_s=1.0), make_rig(SIZE)
    pose = world.ego_pose(0.5)
    points, labels = scan(world, pose, rig.lidar2ego, 0.5, np.random.default_rng(0))
    agreed = total = 0
    for view in range(3):
        picture = render(world, pose @ rig.cam2ego[view], rig.intrinsics[view], SIZE, 0.5, exact=True)
        cam2img = np.eye(4)
        cam2img[:3, :3] = rig.intrinsics[view]
        lidar2cam = invert_rigid(rig.cam2ego[view]) @ rig.lidar2ego
        pairs = pair_points(points, lidar2cam[None], cam2img[None], np.array([SIZE]))
        _, row, col = pairs.pairing_images.T
        visible = abs(picture.depth[row, col] - pairs.depth) < 0.03 * pairs.depth
        agreed += int((picture.label[row, col] == labels[pairs.pairing_points])[visible].sum())
        total += int(visible.sum())
    assert total > 3000
    assert agreed / total > 0.9


def test_tracing_where_neighbours_disagree_is_nearly_tracing_all() -> None:
    world, rig = build_scene(3, duration_s=1.0), make_rig(SIZE)
    camera = (world.ego_pose(0.5) @ rig.cam2ego[0], rig.intrinsics[0], SIZE, 0.5)
    quick, slow = render(world, *camera), render(world, *camera, exact=True)
    assert (quick.label != slow.label).mean() < 0.01
    assert np.abs(quick.image.astype(int) - slow.image.astype(int)).mean() < 1.0


def test_overlapping_palette_changes_colours_and_nothing_else(
    seen: tuple[SceneRecording, list[Keyframe]],
) -> None:
    _, other = drive(3, palette="overlapping")
    plain = seen[1][0]
    assert np.abs(other[0].images[0].image.astype(int) - plain.images[0].image.astype(int)).mean() > 5
    assert abs(len(other[0].lidar.points) - len(plain.lidar.points)) < 0.05 * len(plain.lidar.points)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"keyframes": 0}, "keyframes"), ({"image_size": (2, 2)}, "image"), ({"palette": "grey"}, "palette")],
)
def test_wrong_arguments_are_named(changes: dict, message: str) -> None:
    arguments = {"keyframes": 1, "image_size": SIZE, "palette": "natural", **changes}
    with pytest.raises(ValueError, match=message):
        record_scene("scene-0061", 3, **arguments)
