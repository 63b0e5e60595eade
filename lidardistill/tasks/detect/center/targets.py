"""Training targets of CenterPoint's head: a Gaussian at every centre, and the box of each centre's cell."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lidardistill.objectives.heatmap import gaussian_radius


class CenterTargets(NamedTuple):
    """Targets of one scan for one group of classes.

    Attributes:
        heatmap: (K, H = y, W = x) float32, 1 at the cell of a centre, falling off around it.
        cell: (n,) int64 row * W + col of each box; boxes may share one.
        values: (n, 10) float32 in the order of `models.center_head.CenterMaps.values`.
        value_mask: (n, 10) bool, False for unknown values (some velocities of nuScenes are NaN).
    """

    heatmap: Tensor
    cell: Tensor
    values: Tensor
    value_mask: Tensor


def draw_targets(
    boxes: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    bev_shape: tuple[int, int],
    cell_size_m: tuple[float, float],
    origin_m: tuple[float, float],
    min_overlap: float = 0.1,
    min_radius: int = 2,
) -> CenterTargets:
    """Draw the targets of one scan.

    Args:
        boxes: (N, 9) x, y, z of the centre, length, width, height in metres, yaw about z in radians from x
            towards y, velocity x, y in metres a second; LiDAR frame.
        labels: (N,) int64 class 0..num_classes-1 within the group.
        num_classes: K.
        bev_shape: cells H = y, W = x.
        cell_size_m: x, y metres of a cell.
        origin_m: x, y of the map's lower corner, metres.
        min_overlap: IoU with the true box if the corners are shifted by the radius, 0..1.
        min_radius: smallest radius, cells.

    Returns:
        The targets. Boxes whose centre lies outside the map, and those without an extent, are left out.

    Raises:
        ValueError: wrong shapes, a label outside 0..K-1.

    Source: CenterPoint (Yin et al., CVPR 2021) section 4.1; its nuScenes configuration for the two defaults.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 9 or labels.shape != boxes.shape[:1]:
        raise ValueError(
            f"expected boxes (N, 9) and labels (N,), got {tuple(boxes.shape)} and {tuple(labels.shape)}"
        )
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"labels must lie in 0..{num_classes - 1}, got {int(labels.min())}..{int(labels.max())}"
        )
    height, width = bev_shape
    size = boxes.new_tensor(cell_size_m)
    place = (boxes[:, :2] - boxes.new_tensor(origin_m)) / size
    col, row = place.floor().long().unbind(1)
    inside = (row >= 0) & (row < height) & (col >= 0) & (col < width) & (boxes[:, 3:6] > 0).all(1)
    kept = inside.nonzero()[:, 0]
    boxes, place, labels = (t.index_select(0, kept) for t in (boxes, place, labels))
    row, col = row.index_select(0, kept), col.index_select(0, kept)

    # Length along the columns: CenterPoint ignores the yaw here.
    radius = gaussian_radius(boxes[:, 3] / size[0], boxes[:, 4] / size[1], min_overlap).floor()
    radius = radius.clamp(min=min_radius)
    heatmap = _gaussians(row, col, radius, labels, num_classes, height, width)
    yaw = boxes[:, 6]
    values = torch.cat(
        [
            place - place.floor(),
            boxes[:, 2:3],
            boxes[:, 3:6].log(),
            torch.stack([yaw.sin(), yaw.cos()], dim=1),
            boxes[:, 7:9],
        ],
        dim=1,
    ).float()
    known = values.isfinite()
    return CenterTargets(heatmap, row * width + col, torch.where(known, values, 0.0), known)


def _gaussians(
    row: Tensor, col: Tensor, radius: Tensor, labels: Tensor, num_classes: int, height: int, width: int
) -> Tensor:
    """(K, H, W) float32, maximum of the boxes' Gaussians, 0 beyond their radius r; sigma (2 r + 1) / 6."""
    heatmap = torch.zeros(num_classes, height, width, device=row.device)
    if len(row) == 0:
        return heatmap
    y = torch.arange(height, device=row.device)[None] - row[:, None]
    x = torch.arange(width, device=row.device)[None] - col[:, None]
    sigma = ((2 * radius + 1) / 6)[:, None]
    # The 2D Gaussian and its window are products of one factor per axis.
    down, across = (torch.exp(-(d * d) / (2 * sigma * sigma)) * (d.abs() <= radius[:, None]) for d in (y, x))
    drawn = down[:, :, None] * across[:, None, :]
    index = labels[:, None, None].expand_as(drawn)
    return heatmap.scatter_reduce(0, index, drawn.to(heatmap.dtype), "amax")
