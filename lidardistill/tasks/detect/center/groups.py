"""CenterPoint's loss and decoding over all groups of classes, with the labels of the whole task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from lidardistill.ops.bev_grid import BevGrid
from lidardistill.tasks.detect.center.decode import Detections, decode
from lidardistill.tasks.detect.center.loss import box_l1_loss, gaussian_focal_loss
from lidardistill.tasks.detect.center.targets import draw_targets

BOX_WEIGHT = 0.25
"""Weight of the box loss relative to the heatmap loss: CenterPoint's configuration of nuScenes."""

NMS_RADII_M = (2.0, 12**0.5, 10**0.5, 1.0, 0.85**0.5, 0.175**0.5)
"""NMS radius of each of nuScenes' six groups. CenterPoint's configuration has 4, 12, 10, 1, 0.85 and 0.175;
its code compares them with squared distances."""

Maps = Sequence[tuple[Tensor, Tensor]]
"""Heatmap (B, K, H, W) logits and values (B, 10, H, W) of each group: `models.center_head.CenterMaps`."""


class CenterLoss(NamedTuple):
    """Loss of the head and its parts.

    Attributes:
        total: scalar, the total loss.
        heatmap: scalar, sum over the groups.
        box: scalar, sum over the groups, before weighting.
        num_boxes: number of boxes on the map, in the whole batch.
    """

    total: Tensor
    heatmap: Tensor
    box: Tensor
    num_boxes: int


def center_loss(
    maps: Maps,
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    *,
    num_classes: Sequence[int],
    grid: BevGrid,
    box_weight: float = BOX_WEIGHT,
) -> CenterLoss:
    """Focal loss of the heatmaps and L1 of the boxes, summed over the groups.

    Args:
        maps: maps of each group.
        boxes: (n, 9) of each of the B scans, LiDAR frame; see `draw_targets`.
        labels: (n,) int64 of each scan; the first group has 0..num_classes[0]-1, the next group continues.
        num_classes: number of classes of each group.
        grid: cells of the maps.
        box_weight: weight of the box loss.

    Returns:
        The loss. It is finite for a batch without boxes, whose target heatmaps are empty.

    Raises:
        ValueError: not one map per group, not one list of boxes per scan, or a label outside all groups.

    Source: CenterPoint (Yin et al., CVPR 2021) section 4.1.
    """
    _check_groups(maps, num_classes)
    if not len(boxes) == len(labels) == len(maps[0][0]):
        raise ValueError(
            f"expected boxes and labels of {len(maps[0][0])} scans, got {len(boxes)} and {len(labels)}"
        )
    _check_labels(labels, sum(num_classes))
    heatmap_losses, box_losses, num_boxes = [], [], 0
    for (heatmap, values), first, count in _groups(maps, num_classes):
        targets = []
        for scan_boxes, scan_labels in zip(boxes, labels, strict=True):
            mine = ((scan_labels >= first) & (scan_labels < first + count)).nonzero()[:, 0]
            targets.append(
                draw_targets(
                    scan_boxes.index_select(0, mine),
                    scan_labels.index_select(0, mine) - first,
                    num_classes=count,
                    bev_shape=(grid.height, grid.width),
                    cell_size_m=(grid.cell_size, grid.cell_size),
                    origin_m=(grid.x_min, grid.y_min),
                )
            )
        heatmap_losses.append(gaussian_focal_loss(heatmap, torch.stack([t.heatmap for t in targets])))
        box_losses.append(box_l1_loss(values, targets))
        num_boxes += sum(len(target.cell) for target in targets)
    heatmap_loss, box_loss = torch.stack(heatmap_losses).sum(), torch.stack(box_losses).sum()
    return CenterLoss(heatmap_loss + box_weight * box_loss, heatmap_loss, box_loss, num_boxes)


def decode_groups(
    maps: Maps,
    *,
    num_classes: Sequence[int],
    grid: BevGrid,
    radii_m: Sequence[float] = NMS_RADII_M,
    score_threshold: float = 0.1,
    max_boxes: int = 83,
) -> list[Detections]:
    """Boxes of every scan with the labels of the whole task.

    Args:
        maps: maps of each group.
        num_classes: number of classes of each group.
        grid: cells of the maps.
        radii_m: NMS radius of each group, metres.
        score_threshold: boxes with this score or less are left out.
        max_boxes: number of best boxes of each group. nuScenes accepts 500 boxes per keyframe; CenterPoint
            keeps 83 for each of its six groups.

    Returns:
        The detections of each scan, best first over all groups; equal scores in the order of the groups.

    Raises:
        ValueError: not one map or radius per group.
    """
    _check_groups(maps, num_classes)
    if len(radii_m) != len(num_classes):
        raise ValueError(f"expected one radius for each of {len(num_classes)} groups, got {len(radii_m)}")
    by_group = []
    for ((heatmap, values), first, _), radius_m in zip(_groups(maps, num_classes), radii_m, strict=True):
        found = decode(
            heatmap,
            values,
            cell_size_m=(grid.cell_size, grid.cell_size),
            origin_m=(grid.x_min, grid.y_min),
            radius_m=radius_m,
            score_threshold=score_threshold,
            max_boxes=max_boxes,
        )
        by_group.append([scan._replace(labels=scan.labels + first) for scan in found])
    return [_best_first(scan) for scan in zip(*by_group, strict=True)]


def _best_first(groups: Sequence[Detections]) -> Detections:
    boxes, scores, labels = (torch.cat(parts) for parts in zip(*groups, strict=True))
    order = torch.argsort(scores, descending=True, stable=True)
    return Detections(*(part.index_select(0, order) for part in (boxes, scores, labels)))


def _groups(maps: Maps, num_classes: Sequence[int]) -> Iterator[tuple[tuple[Tensor, Tensor], int, int]]:
    """Maps, first label and number of classes of each group."""
    first = [0, *accumulate(num_classes)]
    yield from zip(maps, first, num_classes, strict=False)


def _check_groups(maps: Maps, num_classes: Sequence[int]) -> None:
    found = [heatmap.shape[1] for heatmap, _ in maps]
    if not found or found != list(num_classes):
        raise ValueError(f"expected heatmaps of {list(num_classes)} classes, got {found}")


def _check_labels(labels: Sequence[Tensor], num_classes: int) -> None:
    together = torch.cat(list(labels))
    if together.numel() and not 0 <= int(together.min()) <= int(together.max()) < num_classes:
        raise ValueError(
            f"labels must lie in 0..{num_classes - 1}, got {int(together.min())}..{int(together.max())}"
        )
