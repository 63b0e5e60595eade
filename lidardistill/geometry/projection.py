"""Which LiDAR point lands on which pixel of which camera.

The transforms of a camera are composed once, in float64, into one matrix. Walking every point through the ego
and the global frame in float32, as nuScenes' devkit does, costs forty times more and moves 0.3 % of the
pairs: global coordinates are kilometres, and float32 leaves them a tenth of a millimetre.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from lidardistill.geometry.camera import check_cam2img, check_no_offset
from lidardistill.geometry.kernels import projection_numba, projection_numpy
from lidardistill.geometry.lens import NUM_COEFFICIENTS, injective_radius, lens_coefficients
from lidardistill.geometry.rigid import check_rigid
from lidardistill.geometry.views import Pairing, Views
from lidardistill.geometry.visibility import splat_radius_px_m, visible_pairs
from lidardistill.spans import spanned

Implementation = Literal["numba", "numpy"]

# Points of an image are less than one pixel outside its first and last pixel, by every rounding and border
# rule.
_PIXEL_SLACK = 1.0
_RAY_SLACK = 1e-6
_DEPTH_SLACK_M = 1e-3


@spanned("project points")
def pair_points(
    points: np.ndarray,
    lidar2cam: np.ndarray,
    cam2img: np.ndarray,
    image_size: ArrayLike,
    *,
    distortion: ArrayLike | None = None,
    min_depth_m: float = 1.0,
    strict_border: bool = True,
    rounding: Literal["nearest", "floor"] = "nearest",
    visibility: Literal["none", "zbuffer"] = "none",
    zbuffer_radius_px_m: ArrayLike | None = None,
    implementation: Implementation = "numba",
) -> Pairing:
    """Projects one sweep into all cameras of its keyframe.

    Args:
        points: (N, >=3) float32 or float64, LiDAR frame, metres; columns after z are not read.
        lidar2cam: (V, 4, 4) float64 rigid, LiDAR frame at LiDAR time to camera frame at camera time.
        cam2img: (V, 4, 4) float64, camera frame to homogeneous pixels.
        image_size: (V, 2), or (2,) where all views share it: height, width in pixels.
        distortion: (V, D) or (D,) OpenCV's k1 k2 p1 p2 [k3 [k4 k5 k6]]; None for pinholes. Images that were
            already undistorted need None, even where the data set lists coefficients.
        min_depth_m: points are kept beyond this depth, strictly.
        strict_border: keep 0 < u < W - 1 and 0 < v < H - 1, which drops the outermost half pixel and more of
            them; otherwise keep every point whose pixel is in the image.
        rounding: "nearest": pixel centres are at whole u and v, halves go to the even pixel; "floor": pixel
            corners are.
        visibility: "zbuffer" drops points that the camera cannot see behind nearer ones; see `visible_pairs`,
            which also says what share that is.
        zbuffer_radius_px_m: (V,) or a number, see `visible_pairs`; None takes `splat_radius_px_m(cam2img)`.
        implementation: "numba", or "numpy", its slow twin with the same result to the bit.

    Returns:
        The pairs; arrays of length zero where no camera sees a point.

    Raises:
        ValueError: wrong shapes, points that are not finite, a calibration that is not rigid, an unknown
            option.

    Source: SLidR, Sautier et al., CVPR 2022, section 3.1; the thresholds, the strict border and the rounding
        are those of its code.
    Differs from the paper in: float64 with one matrix instead of float32 through the global frame.
    """
    points = _check_points(points)
    if not (np.isfinite(min_depth_m) and min_depth_m >= 0):
        raise ValueError(f"min_depth_m: expected a number >= 0, got {min_depth_m}")
    views = _views(lidar2cam, cam2img, image_size, distortion, min_depth_m)
    _check_choice("rounding", rounding, ("nearest", "floor"))
    _check_choice("visibility", visibility, ("none", "zbuffer"))
    _check_choice("implementation", implementation, ("numba", "numpy"))

    pair_views = projection_numba.pair_views if implementation == "numba" else projection_numpy.pair_views
    is_finite, *arrays = pair_views(
        points, views, float(min_depth_m), bool(strict_border), rounding == "nearest"
    )
    if not is_finite:
        raise ValueError(
            f"points: {_describe_non_finite(points)}. Drop these rows, or the file if it is damaged."
        )
    pairing = Pairing(*arrays)
    if visibility == "none":
        return pairing
    radius = splat_radius_px_m(cam2img) if zbuffer_radius_px_m is None else zbuffer_radius_px_m
    visible = visible_pairs(pairing, views.image_size, radius_px_m=radius, implementation=implementation)
    return Pairing(*(array[visible] for array in pairing))


def _views(
    lidar2cam: np.ndarray,
    cam2img: np.ndarray,
    image_size: ArrayLike,
    distortion: ArrayLike | None,
    min_depth_m: float,
) -> Views:
    lidar2cam = np.asarray(lidar2cam, dtype=np.float64)
    cam2img = np.asarray(cam2img, dtype=np.float64)
    if lidar2cam.ndim != 3 or lidar2cam.shape != cam2img.shape:
        raise ValueError(
            f"lidar2cam and cam2img: expected (V, 4, 4) each, got {lidar2cam.shape} and {cam2img.shape}"
        )
    check_rigid(lidar2cam, "lidar2cam")
    check_cam2img(cam2img, "cam2img")
    num_views = len(lidar2cam)
    size = _check_image_size(image_size, num_views)
    if distortion is None:
        point2plane = np.ascontiguousarray((cam2img @ lidar2cam)[:, :3])
        return Views(
            point2plane=point2plane,
            frustum=_frustum(point2plane, np.zeros(2), size[:, ::-1] - 1.0, _PIXEL_SLACK, min_depth_m),
            image_size=size,
            has_lens=False,
            lens=np.zeros((num_views, NUM_COEFFICIENTS)),
            lens_radius=np.zeros(num_views),
            plane2img=np.zeros((num_views, 2, 3)),
        )
    check_no_offset(cam2img, "cam2img")
    lens = lens_coefficients(distortion, num_views)
    radius = np.array([injective_radius(k) for k in lens])
    point2plane = np.ascontiguousarray(lidar2cam[:, :3])
    return Views(
        point2plane=point2plane,
        frustum=_frustum(point2plane, -radius[:, None], radius[:, None], _RAY_SLACK, min_depth_m),
        image_size=size,
        has_lens=True,
        lens=lens,
        lens_radius=radius,
        plane2img=np.ascontiguousarray(cam2img[:, :2, :3]),
    )


def _frustum(
    point2plane: np.ndarray, low: np.ndarray, high: np.ndarray, slack: float, min_depth_m: float
) -> np.ndarray:
    """Linear forms of a point: above zero if low < plane < high, (V or 1, 2 or 1), and the point is deep
    enough.
    """
    to_plane, to_depth = point2plane[:, :2], point2plane[:, 2:]
    forms = np.empty((len(point2plane), 5, 4))
    forms[:, 0:4:2] = to_plane - (low - slack)[..., None] * to_depth
    forms[:, 1:4:2] = (high + slack)[..., None] * to_depth - to_plane
    forms[:, 4] = point2plane[:, 2]
    forms[:, 4, 3] -= min_depth_m - _DEPTH_SLACK_M
    return forms


def _check_points(points: np.ndarray) -> np.ndarray:
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] < 3:
        raise ValueError(f"points: expected (N, >=3) as x, y, z, ..., got shape {points.shape}")
    dtype = np.float32 if points.dtype == np.float32 else np.float64
    # One memory layout, so that the kernel is compiled once, and not again in a worker with a read-only map.
    return np.require(points, dtype=dtype, requirements=["C", "W"])


def _check_image_size(image_size: ArrayLike, num_views: int) -> np.ndarray:
    size = np.asarray(image_size)
    if size.shape not in ((2,), (num_views, 2)) or size.dtype.kind not in "iu" or (size < 1).any():
        raise ValueError(
            f"image_size: expected ({num_views}, 2) or (2,) whole numbers as height, width, got "
            f"{size.tolist()}"
        )
    whole = np.empty((num_views, 2), dtype=np.int64)
    whole[:] = size
    return whole


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")


def _describe_non_finite(points: np.ndarray) -> str:
    bad = np.flatnonzero(~np.isfinite(points[:, :3]).all(axis=1))
    found = f"{len(bad)} of {len(points)} rows with NaN or infinity, row {bad[0]} first"
    return f"expected finite x, y, z, got {found}"
