"""KITTI object frames."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from lidardistill.data.frame import CorruptSample
from lidardistill.data.images import read_image
from lidardistill.datasets.kitti.source import kitti_names, read_kitti_frame


@pytest.fixture
def copy(kitti_one, tmp_path):
    root = tmp_path / "kitti"
    shutil.copytree(kitti_one, root, copy_function=shutil.copyfile)
    for path in (root, *root.rglob("*")):
        path.chmod(0o755)
    return root


def test_the_real_frame(kitti_one):
    assert kitti_names(kitti_one) == ("000008",)
    frame = read_kitti_frame(kitti_one, "000008")
    assert frame.points.shape == (17238, 4)
    assert frame.points.dtype == np.float32
    assert frame.points[:, 3].min() >= 0
    assert frame.points[:, 3].max() <= 1
    assert read_image(frame.image_paths[0], tuple(frame.image_size[0])).shape == (375, 1242, 3)
    assert frame.channels == ("image_2",)
    assert frame.lidar2cam.shape == frame.cam2img.shape == (1, 4, 4)


def test_its_points_land_in_its_picture(kitti_one):
    """The file holds the whole turn cut to the camera's view: nearly all of it must project into the
    picture."""
    frame = read_kitti_frame(kitti_one, "000008")
    xyz1 = np.c_[frame.points[:, :3], np.ones(len(frame.points))]
    cam = xyz1 @ (frame.cam2img[0] @ frame.lidar2cam[0]).T
    uv = cam[:, :2] / cam[:, 2:3]
    inside = (cam[:, 2] > 0) & (uv > -1).all(axis=1) & (uv < frame.image_size[0, ::-1]).all(axis=1)
    assert inside.mean() > 0.99


@pytest.mark.parametrize("part", ["velodyne/000008.bin", "image_2/000008.png", "calib/000008.txt"])
def test_a_missing_part_names_the_tree(copy, part):
    (copy / "training" / part).unlink()
    with pytest.raises(FileNotFoundError, match=rf"(?s){part} is missing\. Expected tree:.*velodyne.*calib"):
        read_kitti_frame(copy, "000008")


def test_no_scans(tmp_path):
    with pytest.raises(FileNotFoundError, match="no KITTI scans"):
        kitti_names(tmp_path)


def test_an_empty_picture_and_a_truncated_scan(copy):
    scan = copy / "training/velodyne/000008.bin"
    scan.write_bytes(scan.read_bytes()[:-3])
    with pytest.raises(CorruptSample, match=rf"{scan} is truncated"):
        read_kitti_frame(copy, "000008")
    picture = copy / "training/image_2/000008.png"
    picture.write_bytes(b"")
    with pytest.raises(CorruptSample, match=rf"{picture} is empty"):
        read_kitti_frame(copy, "000008")
