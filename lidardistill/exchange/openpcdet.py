"""LiDAR BEV weights under the names of OpenPCDet: VoxelBackBone8x, VoxelResBackBone8x or PillarVFE, and
BaseBEVBackbone.

The written layout is that of spconv 2: OpenPCDet converts a weight only if its shape does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lidardistill.exchange.layout import Layout, from_layout, known, renamed, to_layout
from lidardistill.exchange.mmdet3d import (
    ENDS,
    PARTS,
    RESIDUAL_PARTS,
    STAGES,
    Block,
    block_of,
    num_blocks,
)

ENCODER, PILLARS, TWO_D = "backbone_3d.", "vfe.pfn_layers.0.", "backbone_2d."


def openpcdet_modules(block: Block) -> dict[str, str]:
    """Module names inside our encoder, and theirs inside the detector.

    Args:
        block: "plain" is VoxelBackBone8x, "residual" VoxelResBackBone8x, "pillars" a PillarVFE of one layer.
    """
    if block == "pillars":
        return {name: PILLARS + name for name in ("linear", "norm")}
    names = {f"{a}.{b}": f"conv_{c}.{d}" for a, c in ENDS for b, d in PARTS}
    for i in range(STAGES):
        if i > 0:
            names |= {f"stages.{i}.down.{b}": f"conv{i + 1}.0.{d}" for b, d in PARTS}
        for j in range(num_blocks(block, i)):
            parts = RESIDUAL_PARTS if block == "residual" else PARTS
            names |= {f"stages.{i}.blocks.{j}.{b}": f"conv{i + 1}.{j + (i > 0)}.{d}" for b, d in parts}
    return {ours: ENCODER + theirs for ours, theirs in names.items()}


def to_openpcdet(state: Mapping[str, Tensor], layout: Layout = "spconv2") -> dict[str, Tensor]:
    """Weights of a `LidarBev` under the names of OpenPCDet's detectors.

    VoxelResBackBone8x has a bias in front of each BatchNorm unless USE_BIAS is False. We write these biases
    as zeros; a model without biases ignores them. A neck of factor 1 is a transposed convolution there,
    unless USE_CONV_FOR_NO_STRIDE is set. For 1x1 the two differ only in the order of in and out. We write the
    transposed one, as in all of OpenPCDet's nuScenes configurations.

    Args:
        state: its state dict.
        layout: of the sparse convolutions.

    Returns:
        All of them: `backbone_3d` or `vfe`, and `backbone_2d`.

    Raises:
        ValueError: a name that has no counterpart.
    """
    block = block_of(state)
    modules = {f"encoder.{a}": b for a, b in openpcdet_modules(block).items()} | _two_d_modules(state)
    theirs = {}
    for key, value in renamed(state, modules, {}, "LidarBev").items():
        if value.ndim == 5:
            value = to_layout(value, layout)
            if block == "residual" and key.endswith(("conv1.weight", "conv2.weight")):
                theirs[key.removesuffix("weight") + "bias"] = torch.zeros(_width_out(value, layout))
        theirs[key] = _swap_one_by_one(key, value)
    return theirs


def from_openpcdet(state: Mapping[str, Tensor], layout: Layout | None = None) -> dict[str, Tensor]:
    """OpenPCDet's weights under our names, without the head, and without zero biases in front of BatchNorm.

    Args:
        state: state dict of a detector.
        layout: of its sparse convolutions; None infers it from their shapes.

    Raises:
        ValueError: no LiDAR backbone in it, an ambiguous layout, or a bias that is not zero.
    """
    block: Block = "plain"
    if any(key.startswith(PILLARS) for key in state):
        block = "pillars"
    elif f"{ENCODER}conv1.0.conv1.weight" in state:
        block = "residual"
    pairs = openpcdet_modules(block).items()
    modules = {theirs: f"encoder.{ours}" for ours, theirs in pairs}
    modules |= {theirs: ours for ours, theirs in _two_d_modules(state).items()}
    found = known(state, modules, {}, (ENCODER, "vfe.pfn_layers.", TWO_D))
    if not any(key.startswith("encoder.") for key in found):
        raise ValueError(
            f"no LiDAR encoder in these weights: expected names like {ENCODER}conv_input.0.weight, got "
            f"names like {next(iter(state), '(none)')}"
        )
    ours = {}
    for target, (key, value) in found.items():
        if target.endswith(("conv1.bias", "conv2.bias")):
            if bool((value != 0).any()):
                raise ValueError(
                    f"{key}: our residual blocks have no bias in front of BatchNorm, and this one is not zero"
                )
            continue
        if value.ndim == 5:
            kernel = (3, 1, 1) if target == "encoder.out.conv.weight" else (3, 3, 3)
            value = from_layout(key, value, kernel, layout)
        ours[target] = _swap_one_by_one(key, value)
    return ours


def _two_d_modules(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Ours to theirs, for as many layers as the names of `state` (of either) count."""
    numbers = (part for key in state for part in key.split(".") if part.isdecimal())
    layers = 1 + max(map(int, numbers), default=0)
    names: dict[str, str] = {}
    for stage in range(layers):
        names |= {f"neck.deblocks.{stage}.{part}": f"{TWO_D}deblocks.{stage}.{part}" for part in (0, 1)}
        # A separate padding layer precedes the first convolution.
        for layer in range(layers):
            names[f"backbone.blocks.{stage}.{layer}"] = f"{TWO_D}blocks.{stage}.{layer + 1}"
    return names


def _swap_one_by_one(key: str, value: Tensor) -> Tensor:
    neck = key.startswith(f"{TWO_D}deblocks.") and value.ndim == 4 and value.shape[2:] == (1, 1)
    return value.transpose(0, 1).contiguous() if neck else value


def _width_out(weight: Tensor, layout: Layout) -> int:
    return int(weight.shape[0] if layout == "spconv2" else weight.shape[4])
