"""Where on the ground the pixels of a feature map may be, and which part of the ground cameras see at all."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lidardistill.ops.bev_grid import BevGrid


class FrustumCells(NamedTuple):
    """The cell of every sample of every pixel; P = V * h * w pixels, view by view, row by row.

    Attributes:
        cell: (P, D) int32 map * cells of a map + cell of `BevGrid`, 0 where the mask is False.
        mask: (P, D) bool, False for samples outside the grid or the height range, and of views that are
        masked.
    """

    cell: Tensor
    mask: Tensor


def frustum_cells(
    lidar2img: Tensor,
    view_sample: Tensor,
    rows_px: Tensor,
    columns_px: Tensor,
    depth_m: Tensor,
    grid: BevGrid,
    z_range: tuple[float, float],
    *,
    view_mask: Tensor | None = None,
) -> FrustumCells:
    """Lifts every pixel to every depth, and looks up the cell that it comes to lie in.

    A pixel (u, v) at depth d lies at lidar2img^-1 @ (u d, v d, d, 1): one composed matrix a camera, in
    float64.

    Args:
        lidar2img: (V, 4, 4) float64, `img2aug @ cam2img @ lidar2cam`: LiDAR frame to homogeneous pixels of
            the image that the network saw. What was done to image or cloud is in it.
        view_sample: (V,) int64 map of each view.
        rows_px: (h,) floating, image row (v) of the centre of each row of the feature map.
        columns_px: (w,) floating, image column (u) of each column. Pixel (r, c) is centred at (u, v) = (c,
            r).
        depth_m: (D,) floating, camera z of the samples, metres.
        grid: the cells of a map, LiDAR frame.
        z_range: lowest height, included, and highest, not included; metres, LiDAR frame.
        view_mask: (V,) bool, False for views that are missing or broken; their matrices are not looked at.

    Returns:
        The cells.

    Raises:
        ValueError: shapes that do not fit, or a height range that is empty.

    Source: Lift, Splat, Shoot (Philion and Fidler, ECCV 2020), section 3.1.
    """
    num_views = len(lidar2img)
    if lidar2img.shape != (num_views, 4, 4) or view_sample.shape != (num_views,):
        raise ValueError(
            f"frustum_cells: expected lidar2img (V, 4, 4) and view_sample (V,), got {tuple(lidar2img.shape)} "
            "and "
            f"{tuple(view_sample.shape)}"
        )
    if view_mask is not None and view_mask.shape != (num_views,):
        raise ValueError(f"frustum_cells: expected view_mask ({num_views},), got {tuple(view_mask.shape)}")
    if not z_range[0] < z_range[1]:
        raise ValueError(f"frustum_cells: z_range must rise, got {z_range}")
    device, exact = lidar2img.device, torch.float64
    matrix = lidar2img.to(exact)
    if view_mask is not None:
        matrix = torch.where(view_mask[:, None, None], matrix, torch.eye(4, dtype=exact, device=device))
    img2lidar = torch.linalg.inv(matrix)
    v, u = torch.meshgrid(rows_px.to(exact), columns_px.to(exact), indexing="ij")
    pixels = torch.stack([u.flatten(), v.flatten(), torch.ones_like(u).flatten()])
    rays = img2lidar[:, :3, :3] @ pixels  # (V, 3, h * w)
    origin = img2lidar[:, :3, 3]

    cells, masks = [], []
    for view in range(num_views):  # one view at a time: float64 points of all are a hundred megabytes
        points = rays[view][:, :, None] * depth_m.to(exact) + origin[view][:, None, None]
        cell, inside = grid.cells(points[:2].movedim(0, -1))
        inside &= (points[2] >= z_range[0]) & (points[2] < z_range[1])
        if view_mask is not None:
            inside &= view_mask[view]
        cells.append(torch.where(inside, cell + view_sample[view] * grid.num_cells, 0).to(torch.int32))
        masks.append(inside)
    shape = (0, len(depth_m))
    if not cells:
        empty = torch.zeros(shape, dtype=torch.int32, device=device)
        return FrustumCells(empty, empty.bool())
    return FrustumCells(torch.cat(cells), torch.cat(masks))


def cells_in_view(
    lidar2img: Tensor,
    view_sample: Tensor,
    image_size: tuple[int, int],
    depth_range: tuple[float, float],
    grid: BevGrid,
    heights_m: Tensor,
    batch_size: int,
    *,
    view_mask: Tensor | None = None,
) -> Tensor:
    """Cells that a camera sees: their centre lies in the image and the depth range at one or more of the
    heights.

    Far away neighbouring pixels are more than a cell apart, so cells without a sample of `frustum_cells` may
    be seen.

    Args:
        lidar2img: (V, 4, 4) float64, as in `frustum_cells`.
        view_sample: (V,) int64 map of each view.
        image_size: height, width in pixels of the image that the network saw.
        depth_range: nearest and farthest camera z, metres.
        grid: the cells of a map, LiDAR frame.
        heights_m: (K,) floating, heights z at which a cell is looked for, metres, LiDAR frame.
        batch_size: B, maps.
        view_mask: (V,) bool, False for views that are missing or broken; their matrices are not looked at.

    Returns:
        (B, H = y, W = x) bool.
    """
    device, exact = lidar2img.device, torch.float64
    xy = grid.centres(torch.arange(grid.num_cells, device=device))
    z = heights_m.to(device, exact)
    points = torch.stack(
        [
            *(c.repeat_interleave(len(z)) for c in xy.unbind(1)),
            z.repeat(len(xy)),
            torch.ones(len(xy) * len(z), dtype=exact, device=device),
        ]
    )
    projected = lidar2img[:, :3].to(exact) @ points  # (V, 3, cells * K)
    depth = projected[:, 2]
    u, v = projected[:, 0] / depth, projected[:, 1] / depth
    inside = (depth >= depth_range[0]) & (depth <= depth_range[1])
    inside &= (u >= -0.5) & (u < image_size[1] - 0.5) & (v >= -0.5) & (v < image_size[0] - 0.5)
    if view_mask is not None:
        inside &= view_mask[:, None]
    seen = inside.view(len(lidar2img), -1, len(z)).any(2).int()
    views = torch.zeros(batch_size, grid.num_cells, dtype=torch.int32, device=device)
    return (views.index_add_(0, view_sample, seen) > 0).view(batch_size, grid.height, grid.width)
