"""Radius of the Gaussians in a heatmap of box centres."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_radius(length: Tensor, width: Tensor, min_overlap: float) -> Tensor:
    """Largest shift of a box's corners that keeps `min_overlap` with the true box: (n,) cells, not rounded.

    The smallest over three cases: one corner in and one out, both in, both out.

    Args:
        length, width: (n,) cells.
        min_overlap: intersection over union that must be left.

    Source: CornerNet (Law and Deng, ECCV 2018) section 3.2, as its released code and CenterPoint compute it:
        the root of each quadratic is divided by 2 and not by 2 a, which makes the radii of the last two cases
        larger.
    """
    total, area = length + width, length * width
    o = min_overlap
    quadratics = (
        (1.0, total, area * (1 - o) / (1 + o)),
        (4.0, 2 * total, area * (1 - o)),
        (4 * o, -2 * o * total, area * (o - 1)),
    )
    return torch.stack([(b + (b * b - 4 * a * c).sqrt()) / 2 for a, b, c in quadratics]).amin(0)
