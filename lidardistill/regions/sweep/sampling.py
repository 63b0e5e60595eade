"""Sample points of a sweep for region contrast: some inside regions, some outside.

Regions come from `lidardistill.regions.sweep.clusters.propose_regions`; no label is involved.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lidardistill.spans import spanned


class RegionPoints(NamedTuple):
    """Sampled points; points inside regions are first.

    Attributes:
        idx: (K,) int64 rows of the sweep, none twice.
        region_of: (K,) int64 region 0..num_regions-1 without a gap, by ascending id of the sweep's regions;
            meaningless where `rich_mask` is False.
        rich_mask: (K,) bool, True for semantic-rich points, those inside a region.
        num_regions: R, regions with at least one sampled point.
    """

    idx: np.ndarray
    region_of: np.ndarray
    rich_mask: np.ndarray
    num_regions: int


@spanned("draw points")
def sample_region_points(
    region: np.ndarray,
    region_mask: np.ndarray,
    generator: np.random.Generator,
    *,
    num_rich: int = 1024,
    num_plain: int = 1024,
    max_per_region: int = 32,
    eligible: np.ndarray | None = None,
) -> RegionPoints:
    """Draw points without replacement, uniformly among the eligible ones.

    Args:
        region: (N,) integer region id, meaningless where `region_mask` is False.
        region_mask: (N,) bool, True for semantic-rich points.
        generator: random generator of the draw.
        num_rich: largest number of semantic-rich points; the sweep may have fewer.
        num_plain: largest number of semantic-less points.
        max_per_region: largest number of points of one region, so that one lorry does not fill the sample.
        eligible: (N,) bool, False for points that must not be drawn, such as those beyond the map; None: all
            points are eligible.

    Returns:
        The points; possibly none of a kind.

    Raises:
        ValueError: shapes that do not fit, or counts out of range.

    Source: CALICO (Sun et al., ICLR 2024), section 3: 1024 semantic-rich and 1024 semantic-less points a
        scene.
    Differs from the paper in: the limit for each region; the paper gives none.
    """
    region, region_mask = np.asarray(region), np.asarray(region_mask)
    allowed = np.ones(region.shape, bool) if eligible is None else np.asarray(eligible)
    if region.ndim != 1 or region_mask.shape != region.shape or allowed.shape != region.shape:
        raise ValueError(
            "sample_region_points: expected region, region_mask and eligible of one shape (N,), got "
            f"{region.shape}, {region_mask.shape} and {allowed.shape}"
        )
    if num_rich < 0 or num_plain < 0 or max_per_region < 1:
        raise ValueError(
            "sample_region_points: expected num_rich and num_plain of at least 0 and max_per_region of "
            "at least 1, got "
            f"{num_rich}, {num_plain} and {max_per_region}"
        )
    rich = generator.permutation(np.flatnonzero(region_mask & allowed))
    # Sort by region, keeping the order drawn; a point stays if its place in its region is small enough.
    order = np.argsort(region[rich], kind="stable")
    _, first, count = np.unique(region[rich][order], return_index=True, return_counts=True)
    place = np.empty(len(rich), np.int64)
    place[order] = np.arange(len(rich)) - np.repeat(first, count)
    rich = rich[place < max_per_region][:num_rich]
    plain = generator.permutation(np.flatnonzero(~region_mask & allowed))[:num_plain]

    ids, dense = np.unique(region[rich], return_inverse=True)
    return RegionPoints(
        idx=np.concatenate([rich, plain]).astype(np.int64),
        region_of=np.concatenate([dense, np.zeros(len(plain))]).astype(np.int64),
        rich_mask=np.arange(len(rich) + len(plain)) < len(rich),
        num_regions=len(ids),
    )
