"""Which pairs the camera really sees.

The LiDAR is mounted above the cameras and sees over objects: it hits the wall behind a parked car, and the
point projects to a pixel that shows the car. SLidR keeps such pairs. Here each point becomes a disc of the
image plane, as if it were a small ball, and what lies clearly behind a disc is hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from lidardistill.geometry.kernels import visibility_numba, visibility_numpy

if TYPE_CHECKING:
    from lidardistill.geometry.views import Pairing

# A road h below the camera recedes by depth * radius / h under a disc, so a road does not hide itself while
# radius / h is below the margin: 0.1 m from 1.5 m above the road is 0.07.
SPLAT_RADIUS_M = 0.1
RELATIVE_MARGIN = 0.1


def splat_radius_px_m(cam2img: np.ndarray, radius_m: float = SPLAT_RADIUS_M) -> np.ndarray:
    """The radius in pixels, at 1 m depth, of a ball around a point.

    Args:
        cam2img: (V, 4, 4).
        radius_m: of the ball, metres.

    Returns:
        (V,) float64 pixels times metres: divided by the depth it is the radius in pixels.
    """
    return radius_m * np.asarray(cam2img, dtype=np.float64)[:, 0, 0]


def visible_pairs(
    pairing: Pairing,
    image_size: ArrayLike,
    *,
    radius_px_m: ArrayLike,
    relative_margin: float = RELATIVE_MARGIN,
    implementation: Literal["numba", "numpy"] = "numba",
) -> np.ndarray:
    """Marks the pairs that no nearer point of the same view covers: `1 - mask.mean()` is the share hidden.

    The result is that of a z-buffer into which every pair splats a disc of radius `radius_px_m / depth`
    around its
    pixel, without the buffer: pairs are few and pixels are many. Only pairs hide pairs, so what the LiDAR did
    not hit hides nothing.

    Args:
        pairing: the pairs, in any order.
        image_size: (V, 2) or (2,) height, width in pixels.
        radius_px_m: (V,) or a number, pixels times metres; see `splat_radius_px_m`.
        relative_margin: a pair is hidden if it is deeper than the cover by more than this share of the
            cover's depth.
        implementation: "numba", or "numpy", which compares all pairs with all.

    Returns:
        (P,) bool, True where the pair is visible.

    Raises:
        ValueError: wrong shapes, a pixel outside its image, a depth, radius or margin out of range.

    Source: none of SLidR, ST-SLidR, Seal, SuperFlow and ScaLR tests for occlusion.
    """
    view, row, col = np.ascontiguousarray(np.asarray(pairing.pairing_images, dtype=np.int64).reshape(-1, 3).T)
    depth = np.ascontiguousarray(pairing.depth, dtype=np.float64)
    size = np.asarray(image_size, dtype=np.int64)
    radius = np.asarray(radius_px_m, dtype=np.float64)
    if len(view) == 0:
        return np.ones(0, dtype=bool)
    num_views = len(size) if size.ndim == 2 else int(view.max()) + 1
    if size.shape not in ((2,), (num_views, 2)):
        raise ValueError(f"image_size: expected (V, 2) or (2,) as height, width, got shape {size.shape}")
    if depth.shape != view.shape or not np.all((depth > 0) & np.isfinite(depth)):
        raise ValueError(f"pairing.depth: expected {view.shape} positive metres, got shape {depth.shape}")
    if radius.shape not in ((), (num_views,)) or not np.all((radius >= 0) & np.isfinite(radius)):
        raise ValueError(f"radius_px_m: expected {num_views} numbers >= 0, or one, got {radius.tolist()}")
    if not relative_margin >= 0:
        raise ValueError(f"relative_margin: expected a number >= 0, got {relative_margin}")
    if view.min() < 0 or view.max() >= num_views:
        raise ValueError(f"pairing: views must be 0..{num_views - 1}, got {view.min()}..{view.max()}")
    height, width = np.broadcast_to(size, (num_views, 2))[view].T
    if np.any((row < 0) | (row >= height) | (col < 0) | (col >= width)):
        raise ValueError(
            "pairing: a pixel lies outside its image; image_size must be the one the pairs were made for"
        )
    if implementation not in ("numba", "numpy"):
        raise ValueError(f"implementation: expected one of numba, numpy, got {implementation!r}")

    radius_px = np.broadcast_to(radius, (num_views,))[view] / depth
    cover_to = depth * (1.0 + relative_margin)
    hidden_pairs = (visibility_numba if implementation == "numba" else visibility_numpy).hidden_pairs
    return ~hidden_pairs(view, row, col, depth, radius_px, cover_to)
