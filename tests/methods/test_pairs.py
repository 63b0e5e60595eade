"""A keyframe on its way through the data set: everything moves together, nothing depends on who asks when."""

import dataclasses
import pickle

import numpy as np
import pytest
from PIL import Image

from lidardistill.data.config import AugmentConfig
from lidardistill.data.frame import CorruptSample, Frame
from lidardistill.data.images import image_key
from lidardistill.data.keyframes import Keyframes
from lidardistill.data.voxel_input import VoxelInput
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.geometry.projection import pair_points
from lidardistill.methods.image_pairs import ImagePairs
from tests.support.inputs import augment, changed, scan_input

HEIGHT, WIDTH, NUM_VIEWS = 90, 160, 2
AUGMENT = augment()
VOXELS = scan_input(kind="cartesian", voxel_size=(0.5, 0.5, 0.5))


def pose(rotation, translation):
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = rotation, translation
    return transform


def make_frame(folder, row):
    """Points around the car, each with its own intensity; images whose red is the column and green the
    row."""
    rng = np.random.default_rng(row)
    xyz = rng.uniform((-40, -40, -2), (40, 40, 6), size=(6000, 3))
    points = np.concatenate([xyz, np.arange(6000)[:, None]], axis=1).astype(np.float32)
    paths = []
    for view in range(NUM_VIEWS):
        image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        image[..., 0] = np.arange(WIDTH)
        image[..., 1] = np.arange(HEIGHT)[:, None]
        image[..., 2] = 40 + 100 * view
        paths.append(folder / f"{row}_{view}.png")
        Image.fromarray(image).save(paths[-1])
    # Camera z looks along +x of the LiDAR frame, then along -x: cam = R @ lidar.
    forward = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    turn = np.diag([-1.0, -1, 1])
    lidar2cam = np.stack([pose(forward, np.zeros(3)), pose(forward @ turn, np.array([0.1, 0, 0]))])
    cam2img = np.eye(4)
    cam2img[:3, :3] = [[90, 0, WIDTH / 2], [0, 90, HEIGHT / 2], [0, 0, 1]]
    return Frame(
        sample_token=f"token-{row}",
        scene_name="scene-0001",
        timestamp_us=row,
        lidar_path=folder / f"{row}.bin",
        points=points,
        channels=("FRONT", "BACK"),
        image_paths=tuple(paths),
        image_timestamps_us=np.zeros(NUM_VIEWS, np.int64),
        image_size=np.array([[HEIGHT, WIDTH]] * NUM_VIEWS),
        lidar2cam=lidar2cam,
        cam2img=np.stack([cam2img] * NUM_VIEWS),
        lidar2ego=pose(np.eye(3), np.array([0.0, 0.0, 1.8])),
        ego2global=np.eye(4),
    )


class Frames:
    """An index in memory, with rows that cannot be read."""

    def __init__(self, folder, num_rows, corrupt=()):
        self.dataroot = folder
        self.frames = [make_frame(folder, row) for row in range(num_rows)]
        self.corrupt = dict(corrupt)

    def frame(self, row):
        if row in self.corrupt:
            raise self.corrupt[row]
        return self.frames[row]

    def sample_token(self, row):
        return f"token-{row}"


class UniqueSuperpixels:
    """Every pixel is its own superpixel; one column belongs to none."""

    max_id_bound = HEIGHT * WIDTH

    def __call__(self, image, key):
        labels = np.arange(HEIGHT * WIDTH, dtype=np.int32).reshape(HEIGHT, WIDTH)
        return labels, labels % WIDTH != 77


class ImageSuperpixels(UniqueSuperpixels):
    """Computes from the image: one id for each green value."""

    def __call__(self, image, key):
        pixels = image() if callable(image) else image
        return pixels[..., 1].astype(np.int32), np.ones(pixels.shape[:2], bool)


def dataset(index, *, rows=None, seed=3, still=False, **changes):
    options = {"scan_input": VOXELS, "augment": AUGMENT, "superpixels": UniqueSuperpixels(), **changes}
    recipe = ImagePairs(**options)
    rows = np.arange(len(index.frames)) if rows is None else rows
    if still:
        return Keyframes(index, rows, recipe.still(), seed=seed, max_substitutes=0)
    return Keyframes(index, rows, recipe, seed=seed)


@pytest.fixture
def index(tmp_path):
    return Frames(tmp_path, 3)


def test_points_images_superpixels_and_pairs_move_together(index):
    """Paint each pixel with its own id and its own colour, and find every pair's pixel again after
    augmentation."""
    frame = index.frame(0)
    before = pair_points(frame.points, frame.lidar2cam, frame.cam2img, frame.image_size)
    pixel_of = {
        (point, view): (row, col)
        for point, (view, row, col) in zip(
            before.pairing_points.tolist(), before.pairing_images.tolist(), strict=True
        )
    }
    data = dataset(index)
    flipped, sizes, num_pairs = set(), set(), 0
    for position in range(12):
        sample = data[0, position, 0]
        sizes.add(len(sample.points))
        # The intensity tells which point this is.
        origin = sample.points[sample.pairing_points, 3].astype(int)
        view, row, col = sample.pairing_images.T
        expected = np.array([pixel_of[key] for key in zip(origin.tolist(), view.tolist(), strict=True)])
        ids = sample.superpixels[view, row, col]
        found = np.stack([ids // WIDTH, ids % WIDTH], axis=1)
        coloured = sample.images[view, :, row, col] * 255
        for v in range(NUM_VIEWS):
            of_view = view == v
            # Source pixels that one pixel of the result covers, from the ids in the view's corners.
            span = sample.superpixels[v, [0, -1]][:, [0, -1]]
            cover = np.abs((span[1, 1] // WIDTH - span[0, 0] // WIDTH) / 27)
            flipped.add(bool(span[0, 0] % WIDTH > span[0, 1] % WIDTH))
            slack = cover + 0.51
            assert np.abs(found - expected)[of_view].max() <= slack + 0.5
            colour_error = np.abs(coloured[of_view][:, [1, 0]] - expected[of_view])
            # In SLidR's rule the image lies half a result pixel away from the pairs, plus their rounding.
            assert colour_error.max() <= cover + 1.01
            np.testing.assert_allclose(sample.images[v, 2] * 255, 40 + 100 * v, atol=1e-3)
        assert np.array_equal(sample.superpixel_mask, sample.superpixels % WIDTH != 77)
        # Points: one rotation about z and mirrorings, the same for all.
        old = frame.points[sample.points[:, 3].astype(int), :3].astype(np.float64)
        matrix, *_ = np.linalg.lstsq(old, sample.points[:, :3], rcond=None)
        np.testing.assert_allclose(old @ matrix, sample.points[:, :3], atol=1e-4)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-5)
        num_pairs += len(ids)
    assert num_pairs > 3000
    assert flipped == {True, False}
    assert len(sizes) > 1, "no cuboid was ever dropped"


def test_validation_keeps_the_whole_image_and_cloud(index):
    frame = index.frame(1)
    sample = dataset(index, still=True)[0, 0, 1]
    assert np.array_equal(sample.points, frame.points)
    before = pair_points(frame.points, frame.lidar2cam, frame.cam2img, frame.image_size)
    assert np.array_equal(sample.pairing_points, before.pairing_points)
    expected = np.round(before.pairing_images[:, 1:] * [28 / HEIGHT, 50 / WIDTH]).astype(int)
    assert np.array_equal(sample.pairing_images[:, 1:], np.minimum(expected, [27, 49]))
    again = dataset(index, still=True)[5, 9, 1]
    assert np.array_equal(sample.images, again.images)


def same(a, b):
    for field in dataclasses.fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype
            assert np.array_equal(x, y), field.name
        elif isinstance(x, VoxelInput):
            for one, other in zip(x, y, strict=True):
                assert np.array_equal(one, other), field.name
        else:
            assert x == y, field.name


def test_a_sample_is_a_function_of_seed_epoch_and_position(index):
    data = dataset(index)
    first = data[2, 5, 0]
    data[2, 6, 1]
    same(data[2, 5, 0], first)
    same(pickle.loads(pickle.dumps(data))[2, 5, 0], first)
    for other in (data[3, 5, 0], data[2, 4, 0], dataset(index, seed=4)[2, 5, 0]):
        assert not np.array_equal(other.points[:50, :2], first.points[:50, :2])


def test_shapes_and_dtypes_are_those_of_the_contract(index):
    sample = dataset(index)[0, 0, 0]
    num_points, num_voxels = len(sample.points), len(sample.voxels.voxel_coords)
    expected = {
        "points": ((num_points, 4), np.float32), "images": ((2, 3, 28, 50), np.float32),
        "superpixels": ((2, 28, 50), np.int32), "superpixel_mask": ((2, 28, 50), bool),
        "pairing_points": ((len(sample.pairing_images),), np.int64),
        "pairing_images": ((len(sample.pairing_points), 3), np.int64),
        "voxel_coords": ((num_voxels, 3), np.int32), "voxel_features": ((num_voxels, 1), np.float32),
        "point2voxel": ((num_points,), np.int64), "point_mask": ((num_points,), bool),
    }  # fmt: skip
    for name, (shape, dtype) in expected.items():
        array = getattr(sample, name) if hasattr(sample, name) else getattr(sample.voxels, name)
        assert (name, array.shape, array.dtype) == (name, shape, np.dtype(dtype))
    assert (sample.voxels.voxel_coords < sample.voxels.spatial_shape).all()
    assert sample.pairing_images[:, 1:].max(axis=0).tolist() <= [27, 49]


def test_pairs_outside_the_grid_are_dropped(index):
    near = scan_input(
        kind="cartesian", voxel_size=(0.5, 0.5, 0.5), point_cloud_range=(-10, -10, -3, 10, 10, 7)
    )
    sample = dataset(index, scan_input=near)[0, 0, 0]
    assert 0 < len(sample.pairing_points) < len(dataset(index)[0, 0, 0].pairing_points)
    assert sample.voxels.point_mask[sample.pairing_points].all()
    assert np.abs(sample.points[sample.pairing_points, :2]).max() <= 10
    assert not sample.voxels.point_mask.all()


def test_voxel_features_follow_their_names(index):
    names = ("intensity", "x", "y", "z", "range", "height")
    settings = changed(VOXELS, point_features=names, intensity_scale=1 / 255)
    sample = dataset(index, scan_input=settings)[0, 0, 0]
    first = np.full(len(sample.voxels.voxel_coords), -1)
    first[sample.voxels.point2voxel[::-1]] = np.arange(len(sample.points))[::-1]
    points = sample.points[first]
    np.testing.assert_allclose(sample.voxels.voxel_features[:, 0], points[:, 3] / 255, rtol=1e-6)
    np.testing.assert_allclose(sample.voxels.voxel_features[:, 1:4], points[:, :3])
    np.testing.assert_allclose(
        sample.voxels.voxel_features[:, 4], np.linalg.norm(points[:, :3], axis=1), rtol=1e-6
    )
    np.testing.assert_allclose(sample.voxels.voxel_features[:, 5], points[:, 2] + 1.8, atol=1e-5)

    mean = dataset(index, scan_input=changed(settings, reduce="mean"))[0, 0, 0]
    rows = sample.points[sample.voxels.point2voxel == 7]
    np.testing.assert_allclose(mean.voxels.voxel_features[7, 1:4], rows[:, :3].mean(axis=0), rtol=1e-5)


def test_height_does_not_depend_on_the_augmentation(index):
    """The ego frame may be tilted against the LiDAR's; a turned cloud must still tell the same heights."""
    tilt = np.array([[np.cos(0.1), 0, np.sin(0.1)], [0, 1, 0], [-np.sin(0.1), 0, np.cos(0.1)]])
    frame = dataclasses.replace(index.frames[0], lidar2ego=pose(tilt, np.array([1.0, 0, 1.8])))
    index.frames[0] = frame
    no_cuboid = augment(drop_cuboid=False)
    sample = dataset(index, augment=no_cuboid, scan_input=changed(VOXELS, point_features=("height",)))[
        0, 0, 0
    ]
    first = np.full(len(sample.voxels.voxel_coords), -1)
    first[sample.voxels.point2voxel[::-1]] = np.arange(len(sample.points))[::-1]
    in_ego = frame.points[:, :3] @ tilt.T + [1.0, 0, 1.8]
    np.testing.assert_allclose(sample.voxels.voxel_features[:, 0], in_ego[first, 2], atol=1e-4)


class Cached:
    """Features of keyframe `row + offset`: its number."""

    def __init__(self, offset=0):
        self.offset = offset

    def of_run(self, rows):
        return Cached(len(rows))

    def read(self, source, row):
        return np.full((4, 2), row + self.offset, np.float32), np.ones(4, np.float32)


def test_images_stay_on_disk_where_features_are_cached(index):
    for path in index.frame(0).image_paths:
        path.unlink()
    sample = dataset(index, cached=Cached())[0, 0, 0]
    assert sample.images is None
    assert sample.superpixels.shape == (2, 28, 50)
    assert (sample.teacher_features == 0).all()
    recipe = ImagePairs(VOXELS, AUGMENT, superpixels=UniqueSuperpixels(), cached=Cached())
    control = Keyframes(index, [0], recipe.of_run(np.arange(2)), seed=3)[0, 0, 0]
    assert (control.teacher_features == 2).all()
    assert np.array_equal(control.superpixels, sample.superpixels)


def test_a_method_without_superpixels_computes_none(index):
    sample, with_them = dataset(index, superpixels=None)[0, 0, 0], dataset(index)[0, 0, 0]
    assert (sample.superpixels, sample.superpixel_mask, sample.num_superpixels) == (None, None, 0)
    assert np.array_equal(sample.images, with_them.images)
    assert np.array_equal(sample.pairing_images, with_them.pairing_images)
    batch = dataset(index, superpixels=None).collate([sample, sample])
    assert batch.superpixels is None
    assert batch.view_offsets.tolist() == [0, NUM_VIEWS, 2 * NUM_VIEWS]
    assert batch.pairing_images[:, 0].max() == 2 * NUM_VIEWS - 1


def test_superpixels_may_be_computed_from_the_image(index):
    sample = dataset(index, superpixels=ImageSuperpixels())[0, 0, 0]
    green = sample.images[:, 1] * 255
    assert np.abs(sample.superpixels - green).max() <= 90 / 28 / 2 + 1
    too_few = ImageSuperpixels()
    too_few.max_id_bound = 40
    with pytest.raises(ValueError, match=r"superpixels of .*png: expected ids in 0\.\.39, .*got \d\d"):
        dataset(index, superpixels=too_few)[0, 0, 0]


def test_an_unreadable_keyframe_gets_the_same_substitute_every_time(tmp_path):
    index = Frames(
        tmp_path, 6, corrupt={2: CorruptSample("2.bin is empty"), 4: FileNotFoundError("no 4.bin")}
    )
    data = dataset(index)
    chosen = set()
    for position in range(20):
        sample = data[0, position, 2]
        same(sample, data[0, position, 2])
        assert sample.sample_token not in ("token-2", "token-4")
        assert sample.substitutes[0] == ("token-2", "2.bin is empty")
        assert set(sample.substitutes) <= {("token-2", "2.bin is empty"), ("token-4", "no 4.bin")}
        chosen.add(sample.sample_token)
    assert len(chosen) > 1, "one keyframe takes the place of every broken one"
    assert data[0, 0, 1].substitutes == ()


def test_a_broken_image_is_found_and_named(index):
    broken = index.frame(1).image_paths[1]
    broken.write_bytes(broken.read_bytes()[:100])
    sample = dataset(index)[0, 0, 1]
    assert sample.sample_token != "token-1"
    assert str(broken) in sample.substitutes[0][1]


def test_validation_does_not_hide_an_unreadable_keyframe(tmp_path):
    index = Frames(tmp_path, 2, corrupt={1: CorruptSample("1.bin is empty")})
    with pytest.raises(CorruptSample, match=r"1\.bin is empty"):
        dataset(index, still=True)[0, 0, 1]


def test_the_search_for_a_substitute_ends(tmp_path):
    index = Frames(tmp_path, 2, corrupt={row: CorruptSample(f"{row}.bin is empty") for row in range(2)})
    with pytest.raises(CorruptSample, match=r"2 different keyframes .*asked for token-1 .*\.bin is empty"):
        dataset(index)[0, 0, 1]


def test_a_keyframe_without_points_in_view_is_a_sample(index):
    nothing = dataclasses.replace(index.frames[0], points=np.zeros((0, 4), np.float32))
    index.frames[0] = nothing
    sample = dataset(index)[0, 0, 0]
    assert sample.pairing_points.shape == (0,)
    assert sample.pairing_images.shape == (0, 3)
    assert sample.voxels.voxel_coords.shape == (0, 3)
    assert sample.voxels.voxel_features.shape == (0, 1)


def test_construction_names_what_is_missing(index):
    with pytest.raises(ValueError, match="at least one keyframe"):
        dataset(index, rows=[])


def test_images_are_named_by_their_place_in_the_data_set(index):
    names = []

    class Recorder(UniqueSuperpixels):
        def __call__(self, image, key):
            names.append((key, callable(image)))
            return super().__call__(image, key)

    dataset(index, superpixels=Recorder())[0, 0, 2]
    assert names == [("2_0.png", False), ("2_1.png", False)]
    assert image_key(index.dataroot / "samples" / "x.jpg", index.dataroot) == "samples/x.jpg"


def test_the_real_keyframe(nuscenes_one, monkeypatch, tmp_path):
    monkeypatch.setenv("LIDARDISTILL_CACHE", str(tmp_path))
    real = NuScenesIndex.open(nuscenes_one, "v1.0-mini")

    def columns(image, key):
        assert (nuscenes_one / key).is_file()
        return np.tile(np.arange(1600, dtype=np.int32) // 8, (900, 1)), np.ones((900, 1600), bool)

    columns.max_id_bound = 200
    recipe = ImagePairs(scan_input(), AugmentConfig(), superpixels=columns)
    data = Keyframes(real, [0], recipe, seed=0)
    still = Keyframes(real, [0], recipe.still(), seed=0)[0, 0, 0]
    assert 22_050 < len(still.pairing_points) < 22_200
    assert 15_900 < len(still.voxels.voxel_coords) < 16_000
    shares = []
    for position in range(4):
        sample = data[0, position, 0]
        assert sample.images.shape == (6, 3, 224, 416)
        left = np.bincount(sample.pairing_images[:, 0], minlength=6)
        shares.append(left.sum() / len(still.pairing_points))
        assert left.min() > 1024 or shares[-1] > 0.5
        # Points keep their voxel: the cell of each, computed anew, differs from its voxel's by the grid's
        # shift alone.
        x, y, z = sample.points[:, :3].T.astype(np.float64)
        cells = np.floor([z / 0.1, np.degrees(np.arctan2(y, x)), np.hypot(x, y) / 0.1]).astype(int).T
        shift = sample.voxels.voxel_coords[sample.voxels.point2voxel] - cells
        assert (shift == shift[0]).all()
        assert (shift[0] % 16 == 0).all()
    assert 0.3 < np.mean(shares) < 0.95
