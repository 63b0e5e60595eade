"""First layer of a backbone, adapted to points with other columns than in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

FIRST_LAYERS = ("encoder.stem.conv.weight", "encoder.linear.weight", "stem.conv.weight")
"""Of VoxelNet, pillars and MinkUNet.

Input channels come last, and pillars have six more of their own behind them.
"""


def with_columns(
    state: Mapping[str, Tensor],
    features: Sequence[str],
    columns: Sequence[str],
    intensity_scale: float = 1.0,
) -> dict[str, Tensor]:
    """State dict with a first layer for other columns, which computes the same function of the same points.

    Unknown columns get zero weights, known columns are reordered, and the weights absorb the factor of
    intensity. The result is exact, because the first layer is linear and has no bias.

    Args:
        state: state dict of a `LidarBev` or a `MinkUNet`.
        features: names of its input channels, `voxels.point_features` of its run.
        columns: names of the points' new columns; intensity as stored.
        intensity_scale: `voxels.intensity_scale` of its run.

    Returns:
        The state dict with another first layer.

    Raises:
        ValueError: a feature that is no column, a first layer that has not as many inputs as features.
    """
    missing = [name for name in features if name not in columns]
    if missing:
        raise ValueError(
            f"voxels.point_features: {', '.join(missing)} cannot be had from points of {', '.join(columns)}; "
            "train with features out of these, or take lidardistill.plugins.mmdet3d, which makes the voxels "
            "itself"
        )
    key = next((name for name in FIRST_LAYERS if name in state), None)
    if key is None:
        raise ValueError(f"no first layer in these weights: expected one of {', '.join(FIRST_LAYERS)}")
    weight = state[key]
    own = weight.shape[-1] - len(features)
    if own != (6 if key == "encoder.linear.weight" else 0):
        raise ValueError(
            f"{key} has shape {tuple(weight.shape)}, which does not fit {len(features)} features "
            f"({', '.join(features)})"
        )
    parts = []
    for name in columns:
        if name in features:
            part = weight[..., features.index(name)]
            parts.append(part * intensity_scale if name == "intensity" else part)
        else:
            parts.append(torch.zeros_like(weight[..., 0]))
    moved = torch.cat([torch.stack(parts, dim=-1), weight[..., len(features) :]], dim=-1)
    return {**state, key: moved}
