"""KITTI object frames as a source."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest

from lidardistill.data.frame import CorruptSample
from lidardistill.data.images import read_image
from lidardistill.datasets.kinds import open_source, source_config
from lidardistill.datasets.kitti.source import KittiSource
from lidardistill.geometry import pair_points
from tests.support.kitti_root import SIZE, write_kitti


@pytest.fixture
def root(tmp_path):
    return write_kitti(tmp_path / "kitti")


def test_the_real_frame(kitti_one):
    source = KittiSource(kitti_one)
    assert len(source) == 1
    frame = source.frame(source.row_of("000008"))
    assert frame.points.shape == (17238, 4)
    assert frame.points.dtype == np.float32
    assert 0 <= frame.points[:, 3].min() < frame.points[:, 3].max() <= 1
    assert read_image(frame.image_paths[0], tuple(frame.image_size[0])).shape == (375, 1242, 3)
    assert frame.channels == ("image_2",)
    assert frame.lidar2cam.shape == frame.cam2img.shape == (1, 4, 4)


def test_real_points_land_in_the_real_picture(kitti_one):
    """The file holds the turn of the LiDAR cut to the camera's view: nearly all of it projects into the
    picture.
    """
    frame = KittiSource(kitti_one).frame(0)
    xyz1 = np.c_[frame.points[:, :3], np.ones(len(frame.points))]
    cam = xyz1 @ (frame.cam2img[0] @ frame.lidar2cam[0]).T
    uv = cam[:, :2] / cam[:, 2:3]
    inside = (cam[:, 2] > 0) & (uv > -1).all(axis=1) & (uv < frame.image_size[0, ::-1]).all(axis=1)
    assert inside.mean() > 0.99


def test_frames_pair_with_their_picture(root):
    frame = KittiSource(root).frame(0)
    assert tuple(frame.image_size[0]) == SIZE
    pairing = pair_points(frame.points, frame.lidar2cam, frame.cam2img, frame.image_size)
    assert len(pairing.pairing_points) > 0.5 * len(frame.points)


def test_rows_tokens_and_splits(root, tmp_path):
    source = open_source(source_config("kitti", root))
    assert [source.sample_token(row) for row in range(len(source))] == [
        "training-000000", "training-000001", "training-000002", "testing-000000",
    ]  # fmt: skip
    assert source.rows_of_split("training").tolist() == [0, 1, 2]
    assert source.rows_of_split("testing").tolist() == [3]
    assert source.rows_of_split("all").tolist() == [0, 1, 2, 3]
    listed = tmp_path / "mine.txt"
    listed.write_text("000002  # of training\n\ntesting-000000\n000000\n")
    assert source.rows_of_split(str(listed)).tolist() == [0, 2, 3]
    assert source.row_of("000000") == source.row_of("training-000000") == 0
    assert source.sweeps(1) == ()
    assert source.splits() == {"training": (3, 3), "testing": (1, 1)}
    for row in range(len(source)):
        assert source.rows_of_scenes([source.scene_name(row)]).tolist() == [row]
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again.frame(2).points, source.frame(2).points)


def test_an_unknown_split_frame_or_list_entry(root, tmp_path):
    source = KittiSource(root)
    with pytest.raises(ValueError, match=r"split 'slidr_train': expected training, testing, all"):
        source.rows_of_split("slidr_train")
    with pytest.raises(ValueError, match=r"no frame '000009' .* training-000000"):
        source.row_of("000009")
    listed = tmp_path / "mine.txt"
    listed.write_text("000001\n000017\n")
    with pytest.raises(ValueError, match=r"mine\.txt, line 2: no frame '000017'"):
        source.rows_of_split(str(listed))


@pytest.mark.parametrize("part", ["velodyne/000001.bin", "image_2/000001.png", "calib/000001.txt"])
def test_a_missing_part_is_named_or_left_out(root, part):
    source = KittiSource(root)
    (root / "training" / part).unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"{part} is missing\. Expected .*velodyne.*data\.missing=skip"
    ):
        source.frame(1)
    kept = KittiSource(root, missing="skip")
    assert [kept.sample_token(row) for row in range(len(kept))] == [
        "training-000000", "training-000002", "testing-000000",
    ]  # fmt: skip


def test_nothing_is_left(root):
    for split in ("training", "testing"):
        shutil.rmtree(root / split / "calib")
    with pytest.raises(FileNotFoundError, match=r"leaves nothing: each of the 4 scans"):
        KittiSource(root, missing="skip")


def test_no_scans(tmp_path):
    with pytest.raises(FileNotFoundError, match="no KITTI scans"):
        KittiSource(tmp_path)


def test_files_that_cannot_be_used(root):
    source = KittiSource(root)
    scan = source.lidar_path(0)
    whole = scan.read_bytes()
    scan.write_bytes(whole[:-3])
    with pytest.raises(CorruptSample, match=rf"{scan} is truncated"):
        source.frame(0)
    scan.write_bytes(whole)
    calibration = source.calibration_path(0)
    text = calibration.read_text()
    calibration.write_text(text.replace("P2", "P3"))
    with pytest.raises(CorruptSample, match=rf"{calibration}: expected a line 'P2:'"):
        source.frame(0)
    calibration.write_text(text)
    (picture,) = source.image_paths(0)
    picture.write_bytes(b"")
    with pytest.raises(CorruptSample, match=rf"{picture} is empty"):
        source.frame(0)
