"""Recordings: bytes fixed by the seed, sensors that agree with one another, boxes that hold their points."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest

from lidardistill.datasets.nuscenes.lidarseg_classes import CLASSES, RAW_CLASSES, RAW_TO_CLASS
from lidardistill.synthetic.write.record import record_scene
from lidardistill.synthetic.write.recording import Keyframe, SceneRecording

pytestmark = pytest.mark.slow

SIZE = (45, 80)


def record(seed: int = 4, keyframes: int = 3, **options: object) -> tuple[SceneRecording, list[Keyframe]]:
    recording = record_scene("scene-0061", seed, keyframes=keyframes, image_size=SIZE, **options)  # type: ignore[arg-type]
    return recording, list(recording.keyframes)


def digest(frames: list[Keyframe]) -> str:
    state = hashlib.sha256()
    for frame in frames:
        for scan in (frame.lidar, *frame.sweeps):
            for part in (scan.points, scan.labels, scan.ego2global, np.int64(scan.timestamp_us)):
                state.update(part.tobytes())
        for image in frame.images:
            state.update(
                image.image.tobytes() + image.ego2global.tobytes() + np.int64(image.timestamp_us).tobytes()
            )
        for box in frame.boxes:
            state.update(
                repr((box.instance, box.category, box.attribute, box.num_lidar_pts, box.visibility)).encode()
            )
            state.update(np.concatenate([box.center, box.size_wlh, [box.yaw_rad]]).tobytes())
    return state.hexdigest()


@pytest.fixture(scope="module")
def drive() -> tuple[SceneRecording, list[Keyframe]]:
    return record(sweeps_per_keyframe=2)


@pytest.fixture(scope="module")
def other() -> tuple[SceneRecording, list[Keyframe]]:
    return record(seed=2, keyframes=5, sweeps_per_keyframe=0)


def test_the_seed_fixes_every_byte(drive: tuple[SceneRecording, list[Keyframe]]) -> None:
    assert digest(record(sweeps_per_keyframe=2)[1]) == digest(drive[1])


def test_another_seed_is_another_drive(
    drive: tuple[SceneRecording, list[Keyframe]], other: tuple[SceneRecording, list[Keyframe]]
) -> None:
    assert digest(other[1][:3]) != digest(drive[1])
    assert len(other[1][0].lidar.points) != len(drive[1][0].lidar.points)


def test_points_are_as_a_32_beam_lidar_gives_them(drive: tuple[SceneRecording, list[Keyframe]]) -> None:
    for frame in drive[1]:
        points, labels = frame.lidar.points, frame.lidar.labels
        assert points.dtype == np.float32
        assert labels.dtype == np.uint8
        assert 26_000 < len(points) <= 32 * 1090
        assert len(labels) == len(points)
        assert np.isfinite(points).all()
        assert points[:, 3].min() >= 0
        assert points[:, 3].max() <= 255
        assert set(np.unique(points[:, 4])) <= set(range(32))
        distance = np.linalg.norm(points[:, :3], axis=1)
        assert distance.max() < 101.0
        elevation = np.degrees(np.arcsin(points[:, 2] / distance))
        expected = np.linspace(-30.67, 10.67, 32)[points[:, 4].astype(int)]
        assert np.abs(elevation - expected).max() < 1e-3
        # The carrier's own body hides what lies beside it.
        own = labels == RAW_CLASSES.index("vehicle.ego")
        assert own.sum() > 500
        assert distance[own].max() < 4.0


def test_all_classes_are_met_and_get_boxes(other: tuple[SceneRecording, list[Keyframe]]) -> None:
    frames = other[1]
    labels = np.concatenate([f.lidar.labels for f in frames])
    count = dict(zip(CLASSES, np.bincount(RAW_TO_CLASS[labels], minlength=17), strict=True))
    assert min(count.values()) > 100, count
    categories = {box.category for f in frames for box in f.boxes}
    assert {
        "vehicle.car", "vehicle.truck", "vehicle.trailer", "vehicle.bus.rigid", "vehicle.construction",
        "vehicle.bicycle", "vehicle.motorcycle", "human.pedestrian.adult", "movable_object.trafficcone",
        "movable_object.barrier",
    } == categories  # fmt: skip


def test_times_and_poses_belong_together(drive: tuple[SceneRecording, list[Keyframe]]) -> None:
    recording, frames = drive
    for previous, frame in pairwise(frames):
        assert 0.48e6 < frame.lidar.timestamp_us - previous.lidar.timestamp_us < 0.52e6
        step = np.linalg.norm(frame.lidar.ego2global[:3, 3] - previous.lidar.ego2global[:3, 3])
        assert 1.5 < step < 6.5
    for frame in frames:
        assert tuple(i.channel for i in frame.images) == recording.rig.channels
        stamps = np.array([i.timestamp_us for i in frame.images])
        lead = frame.lidar.timestamp_us - stamps
        assert len(set(stamps.tolist())) == 6
        assert lead.min() > -2_000
        assert lead.max() < 50_000
        assert lead.max() > 30_000
        assert [s.timestamp_us for s in frame.sweeps] == sorted(s.timestamp_us for s in frame.sweeps)
        assert frame.sweeps[-1].timestamp_us < frame.lidar.timestamp_us
        # All poses lie on one drive: position is a smooth function of time.
        times = np.array([frame.lidar.timestamp_us, *stamps]) * 1e-6
        places = np.array([frame.lidar.ego2global[:2, 3], *(i.ego2global[:2, 3] for i in frame.images)])
        line = np.polyfit(times - times[0], places, 1)
        assert np.abs(places - np.outer(times - times[0], line[0]) - line[1]).max() < 2e-3
        assert 2.5 < np.linalg.norm(line[0]) < 13.0
        for pose in (frame.lidar.ego2global, *(i.ego2global for i in frame.images)):
            assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3))


def test_boxes_hold_their_points(drive: tuple[SceneRecording, list[Keyframe]]) -> None:
    """Nearly all points of a boxed class lie in a box of that category, and counts are what they say."""
    recording, frames = drive
    for frame in frames:
        lidar2global = frame.lidar.ego2global @ recording.rig.lidar2ego
        points = frame.lidar.points[:, :3] @ lidar2global[:3, :3].T + lidar2global[:3, 3]
        held: dict[str, np.ndarray] = {}
        for box in frame.boxes:
            local = points - box.center
            c, s = np.cos(box.yaw_rad), np.sin(box.yaw_rad)
            local = np.stack(
                [c * local[:, 0] + s * local[:, 1], -s * local[:, 0] + c * local[:, 1], local[:, 2]], 1
            )
            inside = (np.abs(local) <= 0.5 * box.size_wlh[[1, 0, 2]]).all(axis=1)
            assert inside.sum() == box.num_lidar_pts
            assert 1 <= box.visibility <= 4
            held[box.category] = held.get(box.category, False) | inside
        near = np.linalg.norm(frame.lidar.points[:, :2], axis=1) < 60
        for category, inside in held.items():
            mine = near & (frame.lidar.labels == RAW_CLASSES.index(category))
            if mine.sum() > 20:
                assert inside[mine].mean() > 0.9, category


def test_instances_keep_their_size_and_names(drive: tuple[SceneRecording, list[Keyframe]]) -> None:
    seen: dict[int, tuple] = {}
    for frame in drive[1]:
        assert len({b.instance for b in frame.boxes}) == len(frame.boxes)
        for box in frame.boxes:
            facts = (box.category, box.attribute, *np.round(box.size_wlh, 6))
            assert seen.setdefault(box.instance, facts) == facts
    attributes = {a for _, a, *_ in seen.values()}
    assert {"vehicle.moving", "vehicle.parked", "pedestrian.moving", "cycle.with_rider", None} <= attributes


def test_moving_objects_move_at_their_sensors_time(drive: tuple[SceneRecording, list[Keyframe]]) -> None:
    places: dict[int, list[np.ndarray]] = {}
    for frame in drive[1]:
        for box in frame.boxes:
            if box.attribute == "vehicle.moving":
                places.setdefault(box.instance, []).append(box.center)
    tracks = [np.array(p) for p in places.values() if len(p) == 3]
    assert tracks
    for track in tracks:
        assert np.linalg.norm(track[-1] - track[0]) > 2.0


def test_ground_map_holds_the_drive(drive: tuple[SceneRecording, list[Keyframe]]) -> None:
    recording, frames = drive
    ground = recording.ground_map
    for frame in frames:
        x, y = (frame.lidar.ego2global[:2, 3] - ground.origin_xy) / ground.metres_per_pixel
        assert ground.mask[len(ground.mask) - 1 - int(y), int(x)]
    assert 0.02 < ground.mask.mean() < 0.7


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"keyframes.*at least 1.*0"):
        record_scene("scene-0061", 0, keyframes=0)
    with pytest.raises(ValueError, match=r"sweeps_per_keyframe.*-1"):
        record_scene("scene-0061", 0, sweeps_per_keyframe=-1)
    with pytest.raises(ValueError, match=r"image_size.*\(4, 4\)"):
        record_scene("scene-0061", 0, image_size=(4, 4))
