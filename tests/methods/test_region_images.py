"""A keyframe for the camera network: pixels, matrices, voxels and points keep together, whatever is turned or
mirrored."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch

from lidardistill.data.augment import CropWindow
from lidardistill.data.config import AugmentConfig
from lidardistill.data.frame import CorruptSample, Frame
from lidardistill.data.image_augment import image_matrix, resize_image
from lidardistill.data.keyframes import Keyframes
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.methods.calico_rad.config import RADConfig
from lidardistill.methods.calico_rad.sample import RegionImages
from lidardistill.ops import BevGrid, frustum_cells
from lidardistill.regions.sweep.clusters import propose_regions
from tests.support.inputs import scan_input
from tests.support.streets import PICTURE, Street

VOXELS = scan_input(
    kind="cartesian",
    voxel_size=(0.4, 0.4, 0.4),
    point_cloud_range=(-25.6, -25.6, -5.0, 25.6, 25.6, 3.0),
    point_features=("x", "y", "z", "intensity"),
    reduce="mean",
    align=1,
    per_point=True,
)
SIZE = (24, 40)
MOVING = AugmentConfig(image_size=SIZE, drop_cuboid=False, crop_images=False)
STILL = MOVING.still()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Street:
    return Street(tmp_path_factory.mktemp("street"))


def data(
    index: Street,
    *,
    rows: Sequence[int] = (0, 1),
    max_substitutes: int = 8,
    augment: AugmentConfig = MOVING,
    **changes: object,
) -> Keyframes:
    config = RADConfig(kind="calico_rad", lidar_weights="random", **changes)  # type: ignore[arg-type]
    return Keyframes(
        index, rows, RegionImages(config, VOXELS, augment), seed=3, max_substitutes=max_substitutes
    )


def positions(points: np.ndarray, lidar2img: np.ndarray) -> np.ndarray:
    """(N, 3) u, v, depth."""
    h = points[:, :3].astype(np.float64) @ lidar2img[:3, :3].T + lidar2img[:3, 3]
    return np.stack([h[:, 0] / h[:, 2], h[:, 1] / h[:, 2], h[:, 2]], axis=1)


@pytest.mark.parametrize("epoch", range(6))
def test_points_fall_on_the_pixels_that_they_fell_on(index: Street, epoch: int) -> None:
    """The loop: each sampled point is found again in the sweep by its features, and projected there."""
    sample = data(index)[(epoch, 0, 0)]
    inside = sample.voxels.point_mask
    moved = sample.voxels.point_features[:, :3]
    for view in range(2):
        old = positions(index.one.points, index.one.cam2img[view] @ index.one.lidar2cam[view])
        new = positions(moved, sample.lidar2img[view])
        seen = inside & (old[:, 2] > 1)
        assert seen.sum() > 100
        np.testing.assert_allclose(new[seen, 2], old[seen, 2], atol=1e-4)
        u = (old[seen, 0] + 0.5) * SIZE[1] / PICTURE[1] - 0.5
        same, mirrored = np.abs(new[seen, 0] - u).max(), np.abs(new[seen, 0] - (SIZE[1] - 1 - u)).max()
        assert min(same, mirrored) < 1e-2 < max(same, mirrored)
        np.testing.assert_allclose(new[seen, 1], (old[seen, 1] + 0.5) * SIZE[0] / PICTURE[0] - 0.5, atol=1e-2)
        whole = read(index.one.image_paths[view])
        expected = resize_image(whole, CropWindow(0, 0, *PICTURE), SIZE, flipped=bool(mirrored < same))
        np.testing.assert_array_equal(sample.images[view], expected)


@pytest.mark.parametrize("epoch", range(3))
def test_a_point_is_lifted_back_into_its_own_cell(index: Street, epoch: int) -> None:
    """Each point of the augmented sweep, as a pixel at its depth, comes to lie where the sweep has it."""
    sample = data(index)[(epoch, 0, 0)]
    grid = BevGrid.of_range((-25.6, -25.6, 25.6, 25.6), 0.4)
    matrices, moved = torch.from_numpy(sample.lidar2img), sample.voxels.point_features
    checked = 0
    for view in range(2):
        uvd = positions(moved, sample.lidar2img[view])
        in_view = (uvd[:, 2] > 1) & (np.abs(uvd[:, 0] - 20) < 20) & (np.abs(uvd[:, 1] - 12) < 12)
        for row in np.flatnonzero(in_view & sample.voxels.point_mask)[::20]:
            u, v, depth = (torch.tensor([value]) for value in uvd[row])
            one = matrices[view : view + 1], torch.zeros(1, dtype=torch.int64)
            cell, mask = frustum_cells(*one, v, u, depth, grid, (-5.0, 3.0))
            position = grid.position(torch.from_numpy(moved[row : row + 1, :2]).double())
            if (position - position.round()).abs().min() > 1e-3:  # else rounding decides
                assert mask.all()
                assert cell.item() == position.floor()[0, 1] * grid.width + position.floor()[0, 0]
                checked += 1
    assert checked > 20


def read(path: Path) -> np.ndarray:
    return simplejpeg.decode_jpeg(path.read_bytes(), colorspace="RGB")


def test_something_is_turned_and_mirrored(index: Street) -> None:
    matrices = np.stack([data(index)[(epoch, 0, 0)].lidar2img for epoch in range(8)])
    assert len(np.unique(matrices[:, 0, 2, 0].round(6))) == 8  # the heading
    handed = np.linalg.det(matrices[..., :3, :3])
    assert (handed > 0).any()
    assert (handed < 0).any()
    still = data(index, augment=STILL)
    assert np.array_equal(still[(0, 0, 0)].lidar2img, still[(5, 1, 0)].lidar2img)


def test_sampled_points_are_in_range_and_in_a_camera(index: Street) -> None:
    sample = data(index, augment=STILL)[(0, 0, 0)]
    points = index.one.points
    regions = propose_regions(points)
    rows = [np.flatnonzero((points[:, :2] == xy).all(1)) for xy in sample.xy]
    assert len(rows) > 200
    assert 10 < sample.region_mask.sum() < len(rows)
    for found, rich in zip(rows, sample.region_mask, strict=True):
        assert len(found) == 1
        assert regions.region_mask[found[0]] == rich
        assert np.abs(points[found[0], :2]).max() < 25.6
        in_view = [
            (p[2] > 1) & (0 < p[0] < PICTURE[1] - 1) & (0 < p[1] < PICTURE[0] - 1)
            for view in range(2)
            for p in positions(points[found], index.one.cam2img[view] @ index.one.lidar2cam[view])
        ]
        assert any(in_view)


def test_regions_are_dense_and_know_their_extent(index: Street) -> None:
    sample = data(index)[(2, 0, 0)]
    still = data(index, augment=STILL)[(2, 0, 0)]
    regions = propose_regions(index.one.points)
    assert len(still.centre_xy) == len(still.size_xy) == still.region.max() + 1
    for region in range(len(still.centre_xy)):
        (member, *_) = still.xy[still.region_mask & (still.region == region)]
        row = int(np.flatnonzero((index.one.points[:, :2] == member).all(1))[0])
        whole = index.one.points[regions.region_mask & (regions.region == regions.region[row]), :2]
        np.testing.assert_allclose(still.centre_xy[region], (whole.min(0) + whole.max(0)) / 2, atol=1e-5)
        np.testing.assert_allclose(still.size_xy[region], whole.max(0) - whole.min(0), atol=1e-5)
    inside = sample.xy[sample.region_mask] - sample.centre_xy[sample.region[sample.region_mask]]
    assert np.all(np.abs(inside) <= sample.size_xy[sample.region[sample.region_mask]] / 2 + 1e-4)


def test_the_lidar_network_sees_the_sweep_moved_and_the_cameras_do_not(index: Street) -> None:
    """As points, sampled places and range say; what the cameras see stays the same."""
    still = data(index, augment=STILL)[(0, 0, 0)]
    moved = [data(index, augment=STILL, lidar_shift_m=2.0)[(epoch, 0, 0)] for epoch in range(6)]
    assert np.array_equal(still.xy, still.lidar_xy)
    shifts = []
    for sample in moved:
        assert np.array_equal(sample.lidar2img, still.lidar2img)
        by = sample.lidar_xy - sample.xy
        np.testing.assert_allclose(by, np.broadcast_to(by[0], by.shape), atol=1e-5)
        assert np.abs(by).max() <= 2.0 + 1e-5
        features = sample.voxels.point_features
        inside = sample.voxels.point_mask
        np.testing.assert_allclose(
            features[inside, :2] - index.one.points[inside, :2],
            np.broadcast_to(by[0], (inside.sum(), 2)),
            atol=1e-5,
        )
        assert np.abs(sample.xy).max() < 25.6
        assert np.abs(sample.lidar_xy).max() < 25.6
        shifts.append(by[0])
    assert len(np.unique(np.round(shifts, 3), axis=0)) == 6
    assert np.abs(shifts).max() > 1


def test_a_sample_follows_from_its_key_alone(index: Street) -> None:
    dataset = data(index)
    a, b = dataset[(1, 4, 0)], pickle.loads(pickle.dumps(dataset))[(1, 4, 0)]
    for name in ("images", "lidar2img", "xy", "region"):
        assert np.array_equal(getattr(a, name), getattr(b, name))
    assert not np.array_equal(a.xy, dataset[(1, 5, 0)].xy)


def test_a_batch_renumbers_regions_views_and_scans(index: Street) -> None:
    dataset = data(index)
    samples = [dataset[(0, position, place)] for position, place in enumerate((0, 1, 0))]
    assert len(samples[1].xy) == 0  # an empty sweep
    batch = dataset.collate(samples)
    assert batch.batch_size == batch.voxels.batch_size == 3
    assert batch.images.shape == (6, 3, *SIZE)
    assert batch.lidar2img.dtype == torch.float64
    assert batch.view_sample.tolist() == [0, 0, 1, 1, 2, 2]
    first = len(samples[0].xy)
    assert batch.num_points == (first, 0, len(samples[2].xy))
    assert batch.batch_idx.tolist() == [0] * first + [2] * len(samples[2].xy)
    rich = batch.region_mask
    for number, (sample, part) in enumerate(zip(samples, batch.num_points, strict=True)):
        assert part == len(sample.region)
        own = rich & (batch.batch_idx == number)
        found = batch.centre_xy[batch.region[own]].numpy()
        np.testing.assert_array_equal(found, sample.centre_xy[sample.region[sample.region_mask]])
    moved = batch.to("cpu")
    assert moved.camera_inputs()["lidar2img"] is batch.lidar2img
    assert moved.camera_inputs()["batch_size"] == 3
    with pytest.raises(ValueError, match="at least one sample"):
        dataset.collate([])
    with pytest.raises(ValueError, match="images: expected one size"):
        dataset.collate([samples[0], replace(samples[0], images=samples[0].images[..., :8])])


def test_what_cannot_be_read_is_replaced_and_named(index: Street, tmp_path: Path) -> None:
    spoilt = Street(Path(shutil.copytree(index.dataroot, tmp_path / "street")))
    good, _ = spoilt.one.image_paths
    spoilt.one.image_paths[1].write_bytes(b"")

    class Mixed:
        dataroot = spoilt.dataroot

        def frame(self, row: int) -> Frame:
            return spoilt.one if row == 0 else replace(spoilt.one, image_paths=(good, good))

        def sample_token(self, row: int) -> str:
            return f"token{row}"

    with pytest.raises(CorruptSample, match="is empty"):
        data(Mixed(), max_substitutes=0)[(0, 0, 0)]
    sample = data(Mixed())[(0, 0, 0)]
    ((token, reason),) = sample.substitutes
    assert token == "token0"
    assert "view1.jpg" in reason
    assert data(Mixed()).collate([sample]).substitutes == sample.substitutes


def test_a_real_root_gives_samples(tiny_world: Path) -> None:
    dataset = data(NuScenesIndex.open(tiny_world, "v1.0-mini"))
    sample = dataset[(0, 0, 0)]
    assert sample.images.shape == (6, 3, *SIZE)
    assert len(sample.xy) > 100


def test_the_matrix_says_where_pixels_go() -> None:
    """A bright dot of a picture is brightest, after the resize, where its position comes to lie."""
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[24:28, 12:16] = 255  # its middle is (13.5, 25.5)
    window = CropWindow(4, 6, 32, 48)
    for flipped in (False, True):
        small = resize_image(picture, window, (16, 24), flipped=flipped)[0]
        matrix = image_matrix(window, (16, 24), flipped=flipped)
        rows, columns = np.mgrid[:16, :24]
        middle = [(columns * small).sum() / small.sum(), (rows * small).sum() / small.sum()]
        depth = 7.0
        u, v, d, _ = matrix @ np.array([13.5 * depth, 25.5 * depth, depth, 1.0])
        np.testing.assert_allclose([u / d, v / d], middle, atol=1e-6)
        assert d == depth
