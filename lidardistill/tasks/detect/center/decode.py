"""Decoding of CenterPoint's maps to boxes: cells with the best scores, then circle NMS."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Detections(NamedTuple):
    """Boxes of one scan for one group of classes, best first.

    Attributes:
        boxes: (n, 9) float32 x, y, z of the centre, length, width, height in metres, yaw about z in radians,
            velocity x, y in metres a second; LiDAR frame.
        scores: (n,) float32 0..1.
        labels: (n,) int64 class within the group.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def decode(
    heatmap: Tensor,
    values: Tensor,
    *,
    cell_size_m: tuple[float, float],
    origin_m: tuple[float, float],
    radius_m: float,
    score_threshold: float = 0.1,
    max_candidates: int = 500,
    max_boxes: int = 83,
) -> list[Detections]:
    """Boxes of every scan of a batch for one group of classes.

    Args:
        heatmap: (B, K, H, W) logits.
        values: (B, 10, H, W), see `models.center_head.CenterMaps`.
        cell_size_m: x, y metres of a cell.
        origin_m: x, y of the map's lower corner, metres.
        radius_m: NMS radius: the better of two nearer boxes is kept, also across classes of the group.
            CenterPoint compares its `min_radius` with the squared distance: its 4 for cars is 2 m here.
        score_threshold: boxes with this score or less are left out.
        max_candidates: number of best boxes before NMS.
        max_boxes: number of best boxes that are returned.

    Returns:
        The detections of each scan. Equal scores are ordered by class, row, column.

    Source: CenterPoint (Yin et al., CVPR 2021) section 4.1, circle NMS of its released code.
    """
    width = values.shape[3]
    found = []
    for scores, maps in zip(heatmap.detach().float().sigmoid(), values.detach().float(), strict=True):
        flat = scores.flatten()
        order = torch.argsort(flat, descending=True, stable=True)[:max_candidates]
        order = order[flat[order] > score_threshold]
        label, cell = order // scores[0].numel(), order % scores[0].numel()
        value = maps.flatten(1).index_select(1, cell)
        place = torch.stack([cell % width, cell // width]) + value[:2]
        xy = place * place.new_tensor(cell_size_m)[:, None] + place.new_tensor(origin_m)[:, None]
        yaw = torch.atan2(value[6:7], value[7:8])
        boxes = torch.cat([xy, value[2:3], value[3:6].exp(), yaw, value[8:10]]).T
        kept = torch.from_numpy(circle_nms(boxes[:, :2].cpu().numpy(), radius_m)[:max_boxes]).to(cell.device)
        found.append(Detections(boxes[kept], flat[order][kept], label[kept]))
    return found


def circle_nms(centres: np.ndarray, radius_m: float) -> np.ndarray:
    """Circle NMS: drops every row within `radius_m` of a better kept row.

    Args:
        centres: (n, 2) x, y metres, best first.
        radius_m: NMS radius; a distance of exactly this much also suppresses.

    Returns:
        (k,) int64 rows, ascending.
    """
    centres = centres.astype(np.float64)
    alive = np.ones(len(centres), bool)
    for row, centre in enumerate(centres):
        if alive[row]:
            alive[row + 1 :] &= ((centres[row + 1 :] - centre) ** 2).sum(axis=1) > radius_m**2
    return np.flatnonzero(alive)
