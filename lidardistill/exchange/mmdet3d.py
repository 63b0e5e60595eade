"""LiDAR BEV weights under the names of mmdet3d 1.4's CenterPoint and BEVFusion.

The written layout is "mmcv": mmdet3d on spconv 2 expects mmcv's layout in every file without module versions,
such as a plain dictionary of tensors, and converts it itself.

BEVFusion has the names of CenterPoint but other axes: its voxels are ordered x, y, z and its maps are x by y,
so the axes of every kernel are reversed. Weights of one load into the other, except for the last sparse
convolution, whose shape does not fit, but the network then sees a mirrored street.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from lidardistill.exchange.layout import (
    Kernel,
    Layout,
    from_layout,
    known,
    layouts_that_fit,
    renamed,
    reverse_axes,
    to_layout,
)

Block = Literal["residual", "plain", "pillars"]
Detector = Literal["centerpoint", "bevfusion"]
STAGES = 4
ENCODER, PILLARS = "pts_middle_encoder.", "pts_voxel_encoder.pfn_layers.0."
TWO_D = {"backbone.": "pts_backbone.", "neck.": "pts_neck."}
_LAST_KERNEL: dict[Detector, Kernel] = {"centerpoint": (3, 1, 1), "bevfusion": (1, 1, 3)}


def encoder_modules(block: Block) -> dict[str, str]:
    """Module names inside our encoder, and theirs inside the detector.

    Args:
        block: `VoxelNet`'s block, or "pillars" for `PillarNet`.

    Returns:
        Our names to theirs. mmdet3d's SparseEncoder with "basicblock" puts the strided convolution at the end
        of a stage; ours, and "conv_module", put it at the start of the next stage.
    """
    if block == "pillars":
        return {name: PILLARS + name for name in ("linear", "norm")}
    names = {f"{a}.{b}": f"conv_{c}.{d}" for a, c in ENDS for b, d in PARTS}
    for i in range(STAGES):
        layer = f"encoder_layers.encoder_layer{i + 1}"
        if i > 0:
            place = f"encoder_layers.encoder_layer{i}.2" if block == "residual" else f"{layer}.0"
            names |= {f"stages.{i}.down.{b}": f"{place}.{d}" for b, d in PARTS}
        for j in range(num_blocks(block, i)):
            ours = f"stages.{i}.blocks.{j}"
            if block == "residual":
                names |= {f"{ours}.{b}": f"{layer}.{j}.{d}" for b, d in RESIDUAL_PARTS}
            else:
                names |= {f"{ours}.{b}": f"{layer}.{j + (i > 0)}.{d}" for b, d in PARTS}
    return {ours: ENCODER + theirs for ours, theirs in names.items()}


def to_mmdet3d(
    state: Mapping[str, Tensor], layout: Layout = "mmcv", detector: Detector = "centerpoint"
) -> dict[str, Tensor]:
    """Weights of a `LidarBev` under the names of mmdet3d's detectors.

    Args:
        state: its state dict.
        layout: of the sparse convolutions, see above.
        detector: detector with the axes of the written weights.

    Returns:
        All of them: `pts_middle_encoder` or `pts_voxel_encoder`, `pts_backbone`, `pts_neck`.

    Raises:
        ValueError: a name that has no counterpart; pillars for BEVFusion, which has none.
    """
    block = block_of(state)
    if block == "pillars" and detector == "bevfusion":
        raise ValueError("mmdet3d's BEVFusion has no pillars: expected the weights of a VoxelNet preset")
    modules = {f"encoder.{a}": b for a, b in encoder_modules(block).items()}
    theirs = renamed(state, modules, TWO_D, "LidarBev")
    if detector == "bevfusion":
        theirs = {key: reverse_axes(value) for key, value in theirs.items()}
    return {key: to_layout(v, layout) if v.ndim == 5 else v for key, v in theirs.items()}


def from_mmdet3d(
    state: Mapping[str, Tensor], layout: Layout | None = None, detector: Detector | None = None
) -> dict[str, Tensor]:
    """mmdet3d's weights under our names, for `weights.load_matching`; without those of head and cameras.

    Args:
        state: a CenterPoint's or BEVFusion's state dict.
        layout: of its sparse convolutions; None infers it from their shapes.
        detector: detector with these axes; None infers it from the kernel of the last sparse convolution.

    Raises:
        ValueError: no LiDAR backbone in it, or an ambiguous layout.
    """
    block: Block = "plain"
    if any(key.startswith(PILLARS) for key in state):
        block = "pillars"
    elif any(key.endswith("encoder_layer1.0.conv1.weight") for key in state):
        block = "residual"
    modules = {theirs: f"encoder.{ours}" for ours, theirs in encoder_modules(block).items()}
    found = known(
        state,
        modules,
        {theirs: ours for ours, theirs in TWO_D.items()},
        (ENCODER, "pts_voxel_encoder.pfn_layers."),
    )
    if not any(key.startswith("encoder.") for key in found):
        raise ValueError(
            "no LiDAR encoder in these weights: expected names like pts_middle_encoder.conv_input.0.weight, "
            f"got names like {next(iter(state), '(none)')}"
        )
    if detector is None:
        last = state.get(f"{ENCODER}conv_out.0.weight")
        turned = last is not None and bool(layouts_that_fit(last, _LAST_KERNEL["bevfusion"]))
        detector = "bevfusion" if turned else "centerpoint"
    ours = {}
    for target, (key, value) in found.items():
        if value.ndim == 5:
            kernel = _LAST_KERNEL[detector] if target == "encoder.out.conv.weight" else (3, 3, 3)
            value = from_layout(key, value, kernel, layout)
        ours[target] = reverse_axes(value) if detector == "bevfusion" else value
    return ours


def num_blocks(block: Block, stage: int) -> int:
    return 1 if block == "plain" and stage == 0 else 2


def block_of(state: Mapping[str, Tensor]) -> Block:
    """Which encoder the state dict of a `LidarBev` has."""
    if "encoder.linear.weight" in state:
        return "pillars"
    return "residual" if "encoder.stages.0.blocks.0.conv1.weight" in state else "plain"


ENDS = (("stem", "input"), ("out", "out"))
PARTS = (("conv", "0"), ("norm", "1"))
RESIDUAL_PARTS = (("conv1", "conv1"), ("norm1", "bn1"), ("conv2", "conv2"), ("norm2", "bn2"))
