"""Region-aware distillation: contrast of a camera map with a frozen LiDAR map at the points of regions."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lidardistill.objectives.heatmap import gaussian_radius
from lidardistill.spans import spanned

Denominator = Literal["all", "rich"]


@spanned("loss")
def region_distill(
    student: Tensor,
    teacher: Tensor,
    region: Tensor,
    region_mask: Tensor,
    temperature: float,
    *,
    denominator: Denominator = "all",
    weight: Tensor | None = None,
) -> Tensor:
    """InfoNCE with camera features as anchors and the LiDAR features of the same points as positives.

    L = -1/|R| sum_S 1/N_S sum_{i in S} log( exp(c_i . l_i / t) / sum_k exp(c_i . l_k / t) ): all points of a
    region have the same weight, and so have all regions, so that large objects do not outweigh small ones.

    Args:
        student: (P, D) floating point, unit length, c.
        teacher: (P, D), l; row k is the same point.
        region: (P,) int64 region of each point, unique over all of them; meaningless where `region_mask` is
            False.
        region_mask: (P,) bool, False for semantic-less points, which are candidates at most.
        temperature: t, divisor of the dot products, > 0.
        denominator: k runs over "all" points, or over the "rich" ones, those of regions.
        weight: (P,) floating, at least 0: the ablation. The loss is then the mean over points of regions with
            these weights, sum_i w_i loss_i / sum_i w_i, and regions do not matter; None for the formula
            above.

    Returns:
        Scalar float32 (float64 for float64 inputs). Without a point in a region, or with no weight above
        zero, a zero through which gradients (zeros) reach both.

    Raises:
        ValueError: temperature not above 0, shapes that do not fit, another denominator.

    Source: CALICO (Sun et al., ICLR 2024), section 3, region-aware distillation; the weights: BEVDistill
        (Chen et al., ICLR 2023), see `centre_weights`. CALICO does not say whether semantic-less points are
        candidates.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"region_distill: temperature must be a finite number above 0, got {temperature}")
    if student.ndim != 2 or student.shape != teacher.shape:
        raise ValueError(
            "region_distill: student and teacher must both be (P, D) with matching rows, got "
            f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    given = [region, region_mask] if weight is None else [region, region_mask, weight]
    if any(t.shape != student.shape[:1] for t in given):
        raise ValueError(
            f"region_distill: expected region, region_mask and weight of ({len(student)},), got "
            f"{', '.join(str(tuple(t.shape)) for t in given)}"
        )
    if denominator not in ("all", "rich"):
        raise ValueError(f"region_distill: denominator must be all or rich, got {denominator!r}")
    dtype = torch.float64 if student.dtype == torch.float64 else torch.float32
    student, teacher = student.to(dtype), teacher.to(dtype)
    rich = region_mask.nonzero()[:, 0]
    if len(rich) == 0:
        return student.sum() * 0 + teacher.sum() * 0
    target = rich
    if denominator == "rich":
        teacher = teacher.index_select(0, rich)
        target = torch.arange(len(rich), device=rich.device)
    with torch.autocast(student.device.type, enabled=False):
        logits = student.index_select(0, rich) @ teacher.T / temperature
        loss = F.cross_entropy(logits, target, reduction="none")
    if weight is not None:
        share = weight.index_select(0, rich).to(dtype)
        return (loss * share).sum() / share.sum().clamp(min=torch.finfo(dtype).tiny)
    _, place, size = torch.unique(region.index_select(0, rich), return_inverse=True, return_counts=True)
    return (loss / size.to(dtype).index_select(0, place)).sum() / len(size)


def centre_weights(
    xy: Tensor,
    region: Tensor,
    region_mask: Tensor,
    centre_xy: Tensor,
    size_xy: Tensor,
    cell_size: float,
    *,
    min_overlap: float = 0.1,
    min_radius: int = 2,
) -> Tensor:
    """Weight of each point in BEVDistill: a Gaussian around the middle of the point's region.

    BEVDistill draws the Gaussians of CenterPoint's targets around the centres of labelled boxes. Pretraining
    opens no label, so here they stand around the middle of the points of a region, and their radius is that
    of a box as large as the region is. A LiDAR sees the near side of an object alone: the middle of its
    points lies nearer to the sensor than the centre of its box.

    Args:
        xy: (P, 2) floating, metres.
        region: (P,) int64 row in `centre_xy`; meaningless where `region_mask` is False.
        region_mask: (P,) bool.
        centre_xy: (R, 2) floating, middle of the region's points, metres.
        size_xy: (R, 2) floating, their extent along x and y, metres.
        cell_size: of the map, metres: radii are whole numbers of cells.
        min_overlap: as in `center_targets.draw_targets`.
        min_radius: as there, cells.

    Returns:
        (P,) in the dtype of `xy`: 1 in the middle, 0 beyond the radius along x or y, and where `region_mask`
        is False.

    Source: CenterPoint (Yin et al., CVPR 2021) section 4.1, as BEVDistill (Chen et al., ICLR 2023) uses it.
    Differs from the paper in: no labels, see above; a point's distance is not rounded to cells.
    """
    row = torch.where(region_mask, region, 0)
    if len(centre_xy) == 0:
        return xy.new_zeros(len(xy))
    length, width = (size_xy.to(xy.dtype) / cell_size).unbind(1)
    radius = gaussian_radius(length, width, min_overlap).floor().clamp(min=min_radius)
    sigma = (2 * radius + 1) / 6
    off = (xy - centre_xy.to(xy.dtype).index_select(0, row)) / cell_size
    inside = region_mask & (off.abs() <= radius.index_select(0, row)[:, None]).all(1)
    falls = torch.exp(-off.square().sum(1) / (2 * sigma.square().index_select(0, row)))
    return torch.where(inside, falls, 0.0)
