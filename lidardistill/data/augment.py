"""What pretraining does to the cloud and to the pairs: rotate, flip, drop a cuboid, crop and flip the views.

Nothing here touches a pixel: the decisions (which crop, which flip) and the pairs are computed first, on a few thousand
rows, and `lidardistill.data.image_augment` then reads each image once, at its crop.

Source: SLidR (Sautier et al., CVPR 2022) and its public code. The default values, the order and the thresholds are
SLidR's.

Differs from SLidR in: one `np.random.Generator` is passed in (SLidR mixes two global generators); the retry of a crop is
bounded (SLidR hangs on an image without pairs, where the share kept is 0 / 0).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from lidardistill.data.config import PairDataConfig

_ASPECT_TRIES = 10  # torchvision's RandomResizedCrop tries ten shapes, then takes the central crop


@dataclass(frozen=True)
class AugmentSettings:
    """The augmentations of pretraining; each can be turned off by its own value.

    Attributes:
        image_size: rows and columns of the network's image; None keeps every image at its own size (no crop then).
        rotate: turn the cloud around the z axis by an angle drawn from 0..2 pi.
        flip_x_probability: chance of x -> -x.
        flip_y_probability: chance of y -> -y.
        drop_cuboid: drop the points inside one cuboid around a random point.
        cuboid_max_share: the largest side of the cuboid, as a share of the cloud's extent on that axis.
        cuboid_min_pairs: the cuboid is not dropped at all when any view would keep fewer pairs.
        crop_images: cut a window out of each image; otherwise the full image is resized.
        crop_area: smallest and largest area of the window, as a share of the image.
        crop_aspect: smallest and largest width / height of the window, drawn log-uniformly.
        crop_min_pairs: a window is taken when it keeps more pairs than this ...
        crop_min_share: ... or a larger share of the view's pairs than this.
        crop_max_tries: the last window is taken after so many.
        image_flip_probability: chance of mirroring an image left to right.
        pixel_exact: False is SLidR: pairs are rounded, superpixels follow torch's "nearest" rule and images its
            half-pixel rule, so that the three lie up to one pixel apart. True puts all three on the half-pixel rule.
    """

    image_size: tuple[int, int] | None = (224, 416)
    rotate: bool = True
    flip_x_probability: float = 0.5
    flip_y_probability: float = 0.5
    drop_cuboid: bool = True
    cuboid_max_share: float = 0.2
    cuboid_min_pairs: int = 1024
    crop_images: bool = True
    crop_area: tuple[float, float] = (0.3, 1.0)
    crop_aspect: tuple[float, float] = (14 / 9, 17 / 9)
    crop_min_pairs: int = 1024
    crop_min_share: float = 0.75
    crop_max_tries: int = 100
    image_flip_probability: float = 0.5
    pixel_exact: bool = False

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self) if f.name.endswith("_probability")):
            _check(0.0 <= getattr(self, name) <= 1.0, name, "a probability in 0..1", getattr(self, name))
        if self.image_size is not None:
            ok = len(self.image_size) == 2 and min(self.image_size) >= 1
            _check(ok, "image_size", "(rows, columns), both at least 1", self.image_size)
        low, high = self.crop_area
        _check(0.0 < low <= high <= 1.0, "crop_area", "0 < smallest <= largest <= 1", self.crop_area)
        low, high = self.crop_aspect
        _check(0.0 < low <= high, "crop_aspect", "0 < smallest <= largest", self.crop_aspect)
        _check(self.crop_max_tries >= 1, "crop_max_tries", "at least 1", self.crop_max_tries)
        _check(
            0.0 <= self.cuboid_max_share <= 1.0, "cuboid_max_share", "a share in 0..1", self.cuboid_max_share
        )
        if self.image_size is None:
            _check(
                not self.crop_images,
                "crop_images",
                "False where image_size is None (a crop needs a size to go to)",
                self.crop_images,
            )

    def for_validation(self) -> AugmentSettings:
        """The same image size and pixel rule with every random step turned off."""
        return replace(
            self,
            rotate=False,
            flip_x_probability=0.0,
            flip_y_probability=0.0,
            drop_cuboid=False,
            crop_images=False,
            image_flip_probability=0.0,
        )


class CropWindow(NamedTuple):
    """A rectangle of whole pixels: rows top .. top + height - 1, columns left .. left + width - 1."""

    top: int
    left: int
    height: int
    width: int


def augment_cloud(
    points: np.ndarray, settings: AugmentSettings, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Turn the cloud around z, then flip x and y, each independently.

    Args:
        points: (N, 3+F) float32, LiDAR frame, metres; the columns behind z are left alone.
        settings: see `AugmentSettings`.
        generator: where the angle and the flips are drawn from.

    Returns:
        (N, 3+F) float32 new points, and augment_matrix (4, 4) float64 with `new = augment_matrix @ old` (column vectors).
    """
    augment_matrix = np.eye(4)
    if settings.rotate:
        angle_rad = generator.uniform(0.0, 2.0 * np.pi)
        c, s = np.cos(angle_rad), np.sin(angle_rad)
        augment_matrix[:2, :2] = ((c, -s), (s, c))
    for axis, probability in enumerate((settings.flip_x_probability, settings.flip_y_probability)):
        if probability > 0.0 and generator.random() < probability:
            augment_matrix[axis] *= -1.0
    moved = points.copy()
    # Only x and y change, so z stays bit-equal to what the sensor measured.
    x, y = points[:, 0].astype(np.float64), points[:, 1].astype(np.float64)
    for axis in (0, 1):
        moved[:, axis] = augment_matrix[axis, 0] * x + augment_matrix[axis, 1] * y
    return moved, augment_matrix


def drop_cuboid(
    points: np.ndarray,
    pairing_points: np.ndarray,
    pairing_images: np.ndarray,
    num_views: int,
    settings: AugmentSettings,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the points and pairs that stay when the inside of one random cuboid is removed.

    The centre is a random point; the half side on each axis is extent * U(0, cuboid_max_share) / 2, with one draw for
    the three axes; points strictly inside go.

    Args:
        points: (N, 3+F) float32, metres, already turned and flipped.
        pairing_points: (P,) int64 row in `points`.
        pairing_images: (P, 3) int64 view, row, col.
        num_views: V; a view without any pair counts as one that keeps too few.
        settings: see `AugmentSettings`.
        generator: where the share and the centre are drawn from.

    Returns:
        point_kept (N,) bool and pair_kept (P,) bool; all True where the step is off or rolled back because a view
        would keep fewer than `cuboid_min_pairs` pairs.
    """
    all_points, all_pairs = np.ones(len(points), bool), np.ones(len(pairing_points), bool)
    if not settings.drop_cuboid or len(points) == 0:
        return all_points, all_pairs
    columns = np.ascontiguousarray(points[:, :3].T)
    share = generator.uniform(0.0, settings.cuboid_max_share)
    centre = columns[:, generator.integers(len(points))]
    half_size = (columns.max(axis=1) - columns.min(axis=1)) * np.float32(share / 2.0)
    inside = np.ones(len(points), bool)
    for column, low, high in zip(columns, centre - half_size, centre + half_size, strict=True):
        inside &= column > low
        inside &= column < high
    point_kept = ~inside
    pair_kept = point_kept[pairing_points]
    pairs_of_view = np.bincount(pairing_images[pair_kept, 0], minlength=num_views)
    if num_views and pairs_of_view.min() < settings.cuboid_min_pairs:
        return all_points, all_pairs
    return point_kept, pair_kept


def select_points(
    points: np.ndarray,
    pairing_points: np.ndarray,
    pairing_images: np.ndarray,
    point_kept: np.ndarray,
    pair_kept: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Apply the masks of `drop_cuboid` and renumber the pairs' points.

    Args:
        points: (N, 3+F) float32.
        pairing_points: (P,) int64 row in `points`.
        pairing_images: (P, 3) int64.
        point_kept: (N,) bool.
        pair_kept: (P,) bool, True only where the pair's point is kept.

    Returns:
        points (N', 3+F), pairing_points (P',) row in the new points, pairing_images (P', 3).
    """
    if point_kept.all() and pair_kept.all():
        return points, pairing_points, pairing_images
    new_row = np.cumsum(point_kept, dtype=np.int64) - 1
    pairs = np.flatnonzero(
        pair_kept
    )  # take() with row numbers is several times quicker than a mask on 2-d arrays
    kept_points = points.take(np.flatnonzero(point_kept), axis=0)
    return kept_points, new_row[pairing_points[pairs]], pairing_images.take(pairs, axis=0)


def draw_window(
    height: int, width: int, settings: AugmentSettings, generator: np.random.Generator
) -> CropWindow:
    """Draw one window as torchvision's RandomResizedCrop does: area uniform, aspect log-uniform, ten tries.

    Args:
        height: rows of the image.
        width: columns of the image.
        settings: see `AugmentSettings`.
        generator: where area, aspect and corner are drawn from.

    Returns:
        A window inside the image; the largest central one of an allowed aspect when ten shapes do not fit.
    """
    low, high = settings.crop_aspect
    for _ in range(_ASPECT_TRIES):
        area = height * width * generator.uniform(*settings.crop_area)
        aspect = np.exp(generator.uniform(np.log(low), np.log(high)))
        w, h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(generator.integers(height - h + 1))
            return CropWindow(top, int(generator.integers(width - w + 1)), h, w)
    h, w = height, width
    if width / height < low:
        h = max(1, min(height, round(width / low)))
    elif width / height > high:
        w = max(1, min(width, round(height * high)))
    return CropWindow((height - h) // 2, (width - w) // 2, h, w)


def crop_pixels(
    rows_cols: np.ndarray,
    window: CropWindow,
    size: tuple[int, int],
    *,
    pixel_exact: bool,
    clamp: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Where pixels of an image land in its cropped and resized copy.

    Args:
        rows_cols: (P, 2) int64 row, col in the image.
        window: what is cut out.
        size: rows and columns it is resized to.
        pixel_exact: see `AugmentSettings`.
        clamp: put what the rounding moves past the last row or column onto it, instead of dropping it; SLidR does
            so where the full image is resized.

    Returns:
        (P, 2) int64 row, col in the copy and (P,) bool, False where the pixel is not in the copy.
    """
    moved = np.empty(rows_cols.shape, np.int64)
    inside = np.ones(len(rows_cols), bool)
    for axis, (start, length, target) in enumerate(
        ((window.top, window.height, size[0]), (window.left, window.width, size[1]))
    ):
        relative = (rows_cols[:, axis] - start).astype(np.float64)
        scale = target / length
        place = np.floor((relative + 0.5) * scale) if pixel_exact else np.rint(relative * scale)
        if clamp:
            np.minimum(place, target - 1, out=place)
        inside &= (place >= 0) & (place < target)
        moved[:, axis] = place
    return moved, inside


def resized_crop(
    pairing_images: np.ndarray,
    image_size: np.ndarray,
    settings: AugmentSettings,
    generator: np.random.Generator,
) -> tuple[list[CropWindow], np.ndarray, np.ndarray]:
    """Choose a window in each view independently and carry the pairs into it.

    A window is drawn again until it keeps more than `crop_min_pairs` pairs of its view or more than `crop_min_share`
    of them.

    Args:
        pairing_images: (P, 3) int64 view, row, col in the full images.
        image_size: (V, 2) int64 rows, columns of the full images.
        settings: see `AugmentSettings`.
        generator: where the windows are drawn from.

    Returns:
        V windows; (P, 3) int64 view, row, col in the resized windows; (P,) bool, False for pairs that were cut off.

    Differs from SLidR in: a view without pairs takes its first window, and after `crop_max_tries` windows the last one
    is taken; SLidR tries for ever.
    """
    moved, kept = pairing_images.copy(), np.zeros(len(pairing_images), bool)
    windows = []
    view_of_pair = np.ascontiguousarray(pairing_images[:, 0])
    in_order = bool((view_of_pair[1:] >= view_of_pair[:-1]).all())  # as `pair_points` gives them
    for view, (height, width) in enumerate(np.asarray(image_size).tolist()):
        size = settings.image_size or (height, width)
        members: slice | np.ndarray = (
            np.flatnonzero(view_of_pair == view)
            if not in_order
            else slice(*np.searchsorted(view_of_pair, (view, view + 1)).tolist())
        )
        rows_cols = pairing_images[members, 1:]
        if not settings.crop_images:
            window = CropWindow(0, 0, height, width)
            pixels, inside = crop_pixels(
                rows_cols, window, size, pixel_exact=settings.pixel_exact, clamp=True
            )
        else:
            for _ in range(settings.crop_max_tries):
                window = draw_window(height, width, settings, generator)
                pixels, inside = crop_pixels(rows_cols, window, size, pixel_exact=settings.pixel_exact)
                num_kept = int(inside.sum())
                enough = num_kept > settings.crop_min_pairs or num_kept > settings.crop_min_share * len(
                    rows_cols
                )
                if len(rows_cols) == 0 or enough:
                    break
        windows.append(window)
        moved[members, 1:] = pixels
        kept[members] = inside
    return windows, moved, kept


def flip_horizontal(
    pairing_images: np.ndarray,
    width_px: np.ndarray,
    settings: AugmentSettings,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the views that are mirrored left to right and mirror their pairs: col -> width - 1 - col.

    Args:
        pairing_images: (P, 3) int64 view, row, col in the resized windows.
        width_px: (V,) int64 columns of the resized windows.
        settings: see `AugmentSettings`.
        generator: one draw for each view, in order.

    Returns:
        (P, 3) int64 pairs and (V,) bool, True for mirrored views.
    """
    num_views = len(width_px)
    if settings.image_flip_probability == 0.0:
        return pairing_images, np.zeros(num_views, bool)
    flipped = generator.random(num_views) < settings.image_flip_probability
    mirrored = pairing_images.copy()
    view = pairing_images[:, 0]
    mirrored[:, 2] = np.where(flipped[view], width_px[view] - 1 - pairing_images[:, 2], pairing_images[:, 2])
    return mirrored, flipped


def _check(ok: bool, name: str, expected: str, got: object) -> None:
    if not ok:
        raise ValueError(f"augment.{name}: expected {expected}, got {got!r}; change this value in the config")


@dataclass(frozen=True)
class ScanAugment:
    """How a scan is moved before it meets the network; BEVContrast's values are the defaults.

    Attributes:
        shift_std_m: standard deviation of the shift along x, and of that along y, metres; 0 for none.
        shift_max_m: what a shift is clipped to, metres.
        rotate: then turn the cloud around the z axis by an angle drawn from 0..2 pi.
    """

    shift_std_m: float = 4.0
    shift_max_m: float = 15.0
    rotate: bool = True

    def __post_init__(self) -> None:
        if self.shift_std_m < 0 or self.shift_max_m < 0:
            raise ValueError(
                f"expected shift_std_m and shift_max_m of at least 0, got {self.shift_std_m}, {self.shift_max_m}"
            )


def draw_motion(settings: ScanAugment, generator: np.random.Generator) -> np.ndarray:
    """(4, 4) float64 `new = motion @ old`: a shift along x and y, then a turn around z."""
    motion = np.eye(4)
    shift = generator.normal(0.0, settings.shift_std_m, size=2)
    motion[:2, 3] = shift.clip(-settings.shift_max_m, settings.shift_max_m)
    if settings.rotate:
        angle_rad = generator.uniform(0.0, 2.0 * np.pi)
        c, s = np.cos(angle_rad), np.sin(angle_rad)
        turn = np.eye(4)
        turn[:2, :2] = ((c, -s), (s, c))
        motion = turn @ motion
    return motion


@dataclass(frozen=True)
class ViewAugment:
    """How a view is made of a sweep.

    Attributes:
        max_rotation_deg: the cloud is turned around z by an angle drawn from minus this to this (CALICO: 90).
        scale: x, y and z are multiplied by a factor drawn from this range (CALICO: 0.9 to 1.1).
        flip_x: x -> -x in every second view. CALICO's flips could not be read.
        flip_y: y -> -y in every second view.
    """

    max_rotation_deg: float = 90.0
    scale: tuple[float, float] = (0.9, 1.1)
    flip_x: bool = True
    flip_y: bool = True

    def __post_init__(self) -> None:
        low, high = self.scale
        if not (0 <= self.max_rotation_deg <= 180 and 0 < low <= high):
            raise ValueError(
                "view: expected max_rotation_deg in 0..180 and 0 < smallest <= largest scale, got "
                f"{self.max_rotation_deg} and {self.scale}"
            )


def draw_view(settings: ViewAugment, generator: np.random.Generator) -> np.ndarray:
    """(4, 4) float64 `new = view @ old`: a turn around z, then mirrors, then a scale of all three axes."""
    limit = np.radians(settings.max_rotation_deg)
    angle_rad = generator.uniform(-limit, limit)
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    view = np.eye(4)
    view[:2, :2] = ((c, -s), (s, c))
    for axis, flips in enumerate((settings.flip_x, settings.flip_y)):
        if flips and generator.random() < 0.5:
            view[axis] *= -1.0
    view[:3] *= generator.uniform(*settings.scale)
    return view


def move_cloud(points: np.ndarray, old2new: np.ndarray) -> np.ndarray:
    """(N, >=3) float32 points with x, y, z moved by (4, 4) `new = old2new @ old`; the other columns stay."""
    moved = points.copy()
    moved[:, :3] = points[:, :3].astype(np.float64) @ old2new[:3, :3].T + old2new[:3, 3]
    return moved


def build_augment(config: PairDataConfig) -> AugmentSettings:
    c = config.augment
    default = AugmentSettings()
    return AugmentSettings(
        image_size=c.image_size,
        rotate=c.rotate,
        flip_x_probability=default.flip_x_probability if c.flip else 0.0,
        flip_y_probability=default.flip_y_probability if c.flip else 0.0,
        drop_cuboid=c.drop_cuboid,
        crop_images=c.crop_images,
        image_flip_probability=default.image_flip_probability if c.flip_images else 0.0,
    )
