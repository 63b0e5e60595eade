"""Whole images, resized, with cameras that fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lidardistill.data.augment import CropWindow
from lidardistill.data.camera_input import CameraInput, read_cameras
from lidardistill.data.config import ImageConfig
from lidardistill.data.image_augment import image_matrix, resize_image
from lidardistill.data.images import image_key, read_image
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.geometry import project, transform_points


@pytest.fixture(scope="module")
def frame(detection_world: Path):  # type: ignore[no-untyped-def]
    return NuScenesIndex.open(detection_world, "v1.0-mini").frame(3)


def keys(frame, root):  # type: ignore[no-untyped-def]
    return tuple(image_key(path, root) for path in frame.image_paths)


@pytest.mark.parametrize("window", [CropWindow(0, 0, 90, 160), CropWindow(20, 30, 70, 120)])
@pytest.mark.parametrize("size", [(45, 80), (20, 61), (90, 100), (30, 79)])
def test_a_blob_is_where_the_camera_says(window, size) -> None:
    """A smooth blob in the image is resized with it; its centre of mass lands where the matrix puts it."""
    v, u = np.mgrid[0:90, 0:160].astype(np.float64)
    centre = np.array([96.4, 61.2])
    blob = 255 * np.exp(-((u - centre[0]) ** 2 + (v - centre[1]) ** 2) / (2 * 8.0**2))
    image = np.repeat(blob.astype(np.uint8)[:, :, None], 3, axis=2)
    small = resize_image(image, window, size)[0].astype(np.float64)
    rows, cols = np.mgrid[0 : size[0], 0 : size[1]]
    found = np.array([(small * cols).sum(), (small * rows).sum()]) / small.sum()
    expected = (image_matrix(window, size) @ [*centre, 1.0, 1.0])[:2]
    np.testing.assert_allclose(found, expected, atol=0.12)


@pytest.mark.parametrize("settings", [CameraInput(), CameraInput((30, 50)), CameraInput((20, 60))])
def test_points_project_where_their_pixels_went(frame, detection_world, settings) -> None:
    images, cam2img = read_cameras(frame, settings, keys(frame, detection_world))
    size = settings.image_size or (45, 80)
    assert images.shape == (6, 3, *size)
    assert images.dtype == np.float32
    assert cam2img.dtype == np.float64
    window = CropWindow(0, 0, 45, 80)
    for view in range(6):
        in_camera = transform_points(frame.lidar2cam[view], frame.points[:, :3])
        before, depth = project(in_camera, frame.cam2img[view])
        after, same_depth = project(in_camera, cam2img[view])
        np.testing.assert_array_equal(depth, same_depth)
        # A pixel covers half a unit to each side of its centre, in both images.
        share = (before + 0.5 - [window.left, window.top]) / [window.width, window.height]
        np.testing.assert_allclose((after + 0.5) / size[::-1], share, atol=1e-9)
        whole = read_image(frame.image_paths[view], (45, 80))
        np.testing.assert_array_equal(images[view], resize_image(whole, window, size))


def test_images_may_be_read_reduced(frame, detection_world) -> None:
    names = keys(frame, detection_world)
    full, cam2img = read_cameras(frame, CameraInput((22, 40)), names)
    reduced, same = read_cameras(frame, CameraInput((22, 40), images=ImageConfig(scale=2)), names)
    np.testing.assert_array_equal(cam2img, same)
    assert not np.array_equal(full, reduced)
    assert np.abs(full - reduced).mean() < 0.2


def test_bad_input(frame, detection_world) -> None:
    with pytest.raises(ValueError, match=r"cameras\.image_size: expected height and width"):
        CameraInput((0, 5))
    mixed = replace(frame, image_size=np.array([[45, 80]] * 5 + [[44, 80]]))
    with pytest.raises(ValueError, match="different sizes"):
        read_cameras(mixed, CameraInput(), keys(frame, detection_world))
