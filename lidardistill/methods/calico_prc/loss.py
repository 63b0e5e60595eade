"""CALICO's two contrastive losses of points in regions: PLRC (point to region) and RAPC (point to itself)."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lidardistill.spans import spanned

Average = Literal["outside", "inside"]


class ViewPoints(NamedTuple):
    """Sampled points of one view.

    Attributes:
        features: (P, D) floating point, unit length.
        region: (P,) int64 region of each point, of one numbering for both views; meaningless where
            `region_mask` is False.
        region_mask: (P,) bool, False for semantic-less points, which are negatives and nothing else.
    """

    features: Tensor
    region: Tensor
    region_mask: Tensor


def point_region_contrast(
    anchor: ViewPoints, other: ViewPoints, temperature: float, *, average: Average = "outside"
) -> Tensor:
    """PLRC: every point of a region finds the points of that region in the other view among all points of
    that view.

    Anchors are the points of `anchor` whose region also exists in the other view. The two views may hold
    different points. The denominator sums over all N + M points of `other`, semantic-less points included.

    Args:
        anchor: one view.
        other: the other view.
        temperature: divisor of the dot products, > 0.
        average: over the positives of an anchor: "outside" takes the mean of the logarithms (SupCon's L_out,
            and the code of PLRC), "inside" the logarithm of the mean (SupCon's L_in).

    Returns:
        Scalar float32 (float64 for float64 inputs), the mean over anchors. Without an anchor a zero through
        which gradients (zeros) reach both views.

    Raises:
        ValueError: temperature not above 0, shapes that do not fit, another `average`.

    Source: CALICO (Sun et al., ICLR 2024), section 3, after point-level region contrast (Bai et al., CVPR
        2022); L_out and L_in: Khosla et al., NeurIPS 2020. CALICO does not say whether its mean is inside
        or outside the logarithm.
    """
    _check(anchor, other, temperature)
    _check_average(average)
    rich = anchor.region_mask.nonzero()[:, 0]
    return _find_region(_log_shares(anchor, rich, other, temperature), anchor, rich, other, average)


def region_aware_point_contrast(
    anchor: ViewPoints, other: ViewPoints, temperature: float, *, equal_regions: bool = True
) -> Tensor:
    """RAPC: every point of a region finds itself in the other view among all points of that view.

    Args:
        anchor: one view.
        other: the other view: row k is the point of row k of `anchor`.
        temperature: divisor of the dot products, > 0.
        equal_regions: give every region the same weight, so that a large object does not outweigh a small
            one; False gives every point the same weight.

    Returns:
        Scalar float32 (float64 for float64 inputs), the mean over regions (or points). Without a point in a
        region a zero through which gradients (zeros) reach both views.

    Raises:
        ValueError: temperature not above 0, shapes that do not fit.

    Source: CALICO (Sun et al., ICLR 2024), section 3; PointInfoNCE: Xie et al., PointContrast, ECCV 2020.
        We could not read CALICO's exact definition of region awareness; the weight 1 / size is that of its
        distillation stage.
    """
    _check_matched(anchor, other, temperature)
    rich = anchor.region_mask.nonzero()[:, 0]
    return _find_oneself(_log_shares(anchor, rich, other, temperature), anchor, rich, other, equal_regions)


@spanned("loss")
def both_point_contrasts(
    anchor: ViewPoints,
    other: ViewPoints,
    temperature: float,
    *,
    average: Average = "outside",
    equal_regions: bool = True,
) -> tuple[Tensor, Tensor]:
    """PLRC and RAPC of the same points, from one product of their features.

    Args:
        anchor: one view.
        other: the other view: row k is the point of row k of `anchor`.
        temperature: of both, > 0.
        average: see `point_region_contrast`.
        equal_regions: see `region_aware_point_contrast`.

    Returns:
        The losses of `point_region_contrast` and of `region_aware_point_contrast`.

    Raises:
        ValueError: see both functions.
    """
    _check_matched(anchor, other, temperature)
    _check_average(average)
    rich = anchor.region_mask.nonzero()[:, 0]
    log_share = _log_shares(anchor, rich, other, temperature)
    return (
        _find_region(log_share, anchor, rich, other, average),
        _find_oneself(log_share, anchor, rich, other, equal_regions),
    )


def _find_region(
    log_share: Tensor, anchor: ViewPoints, rich: Tensor, other: ViewPoints, average: Average
) -> Tensor:
    """PLRC of (K, P) shares of the K anchors `rich`."""
    same = anchor.region.index_select(0, rich)[:, None] == other.region[None, :]
    same = same & other.region_mask[None, :]
    num_positives = same.sum(1)
    found = num_positives.nonzero()[:, 0]
    if len(found) == 0:
        return _nothing(anchor.features, other.features)
    if len(found) < len(rich):
        same, num_positives = same.index_select(0, found), num_positives.index_select(0, found)
        log_share = log_share.index_select(0, found)
    if average == "outside":
        return -((log_share * same).sum(1) / num_positives).mean()
    among = torch.where(same, log_share, -torch.inf).logsumexp(1)
    return -(among - num_positives.to(log_share.dtype).log()).mean()


def _find_oneself(
    log_share: Tensor, anchor: ViewPoints, rich: Tensor, other: ViewPoints, equal_regions: bool
) -> Tensor:
    """RAPC of (K, P) shares of the K anchors `rich`."""
    if len(rich) == 0:
        return _nothing(anchor.features, other.features)
    loss = -log_share.gather(1, rich[:, None])[:, 0]
    if not equal_regions:
        return loss.mean()
    _, place, size = torch.unique(
        anchor.region.index_select(0, rich), return_inverse=True, return_counts=True
    )
    weight = size.to(loss.dtype).reciprocal().index_select(0, place)
    return (loss * weight).sum() / len(size)


def _log_shares(anchor: ViewPoints, rows: Tensor, other: ViewPoints, temperature: float) -> Tensor:
    """(K, P) logarithm of the share that each of P candidates has of exp(similarity / temperature), float32
    or wider."""
    dtype = torch.float64 if anchor.features.dtype == torch.float64 else torch.float32
    with torch.autocast(anchor.features.device.type, enabled=False):
        chosen = anchor.features.index_select(0, rows).to(dtype)
        return F.log_softmax(chosen @ other.features.to(dtype).T / temperature, dim=1)


def _nothing(*features: Tensor) -> Tensor:
    dtype = torch.float64 if features[0].dtype == torch.float64 else torch.float32
    zero = features[0].new_zeros((), dtype=dtype)
    return sum((rows.to(dtype).sum() * 0 for rows in features), zero)


def _check(anchor: ViewPoints, other: ViewPoints, temperature: float) -> None:
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature must be a finite number above 0, got {temperature}")
    for name, view in (("anchor", anchor), ("other", other)):
        shapes = (view.region.shape, view.region_mask.shape)
        if view.features.ndim != 2 or any(shape != view.features.shape[:1] for shape in shapes):
            raise ValueError(
                f"{name}: expected features (P, D), region (P,) and region_mask (P,), got "
                f"{tuple(view.features.shape)}, {tuple(shapes[0])} and {tuple(shapes[1])}"
            )
    if anchor.features.shape[1] != other.features.shape[1]:
        raise ValueError(
            f"anchor and other must have one width, got {anchor.features.shape[1]} and "
            f"{other.features.shape[1]}"
        )


def _check_average(average: Average) -> None:
    if average not in ("outside", "inside"):
        raise ValueError(f"point_region_contrast: average must be outside or inside, got {average!r}")


def _check_matched(anchor: ViewPoints, other: ViewPoints, temperature: float) -> None:
    _check(anchor, other, temperature)
    if anchor.features.shape != other.features.shape:
        raise ValueError(
            "region_aware_point_contrast: the rows of both views must match, got "
            f"{tuple(anchor.features.shape)} and {tuple(other.features.shape)}"
        )
