"""Names and layouts of LiDAR BEV weights elsewhere: mmdet3d 1.4 and OpenPCDet.

A convolution weight of ours is spconv 2's, (out, kz, ky, kx, in). mmcv's own sparse convolutions, and spconv 1 under
OpenPCDet, keep (kz, ky, kx, in, out). mmdet3d that runs on spconv 2 expects the latter from every file that carries no
module versions, which is any plain dictionary of tensors, and turns it itself; what is written is therefore "mmcv".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from torch import Tensor

Layout = Literal["mmcv", "spconv2"]
STAGES = 4
MMDET3D_ENCODER, MMDET3D_PILLARS = "pts_middle_encoder.", "pts_voxel_encoder.pfn_layers.0."
MMDET3D_2D = {"backbone.": "pts_backbone.", "neck.": "pts_neck."}
OPENPCDET_ENCODER = "backbone_3d."


def mmdet3d_modules(block: Literal["residual", "plain", "pillars"]) -> dict[str, str]:
    """Module names inside our encoder, and theirs inside the detector.

    Args:
        block: `VoxelNet`'s block, or "pillars" for `PillarNet`.

    Returns:
        Ours to theirs. SparseEncoder of blocks "basicblock" puts the convolution with a stride at the end of a stage,
        ours and "conv_module" at the start of the next.
    """
    if block == "pillars":
        return {name: MMDET3D_PILLARS + name for name in ("linear", "norm")}
    names = {f"{a}.{b}": f"conv_{c}.{d}" for a, c in _ENDS for b, d in _PARTS}
    for i in range(STAGES):
        layer = f"encoder_layers.encoder_layer{i + 1}"
        if i > 0:
            place = f"encoder_layers.encoder_layer{i}.2" if block == "residual" else f"{layer}.0"
            names |= {f"stages.{i}.down.{b}": f"{place}.{d}" for b, d in _PARTS}
        for j in range(_num_blocks(block, i)):
            ours = f"stages.{i}.blocks.{j}"
            if block == "residual":
                names |= {f"{ours}.{b}": f"{layer}.{j}.{d}" for b, d in _RESIDUAL_PARTS}
            else:
                names |= {f"{ours}.{b}": f"{layer}.{j + (i > 0)}.{d}" for b, d in _PARTS}
    return {ours: MMDET3D_ENCODER + theirs for ours, theirs in names.items()}


def openpcdet_modules() -> dict[str, str]:
    """The same for OpenPCDet's VoxelBackBone8x, which is our block "plain"."""
    names = {f"{a}.{b}": f"conv_{c}.{d}" for a, c in _ENDS for b, d in _PARTS}
    for i in range(STAGES):
        if i > 0:
            names |= {f"stages.{i}.down.{b}": f"conv{i + 1}.0.{d}" for b, d in _PARTS}
        for j in range(_num_blocks("plain", i)):
            names |= {f"stages.{i}.blocks.{j}.{b}": f"conv{i + 1}.{j + (i > 0)}.{d}" for b, d in _PARTS}
    return {ours: OPENPCDET_ENCODER + theirs for ours, theirs in names.items()}


def to_mmdet3d(state: Mapping[str, Tensor], layout: Layout = "mmcv") -> dict[str, Tensor]:
    """Weights of a `LidarBev` under the names of mmdet3d's CenterPoint.

    Args:
        state: its state dict.
        layout: of the sparse convolutions, see above.

    Returns:
        All of them: `pts_middle_encoder` or `pts_voxel_encoder`, `pts_backbone`, `pts_neck`.

    Raises:
        ValueError: a name that has no counterpart.
    """
    encoder = mmdet3d_modules(_block_of(state))
    return dict(_renamed(state, {f"encoder.{a}": b for a, b in encoder.items()}, MMDET3D_2D, layout))


def from_mmdet3d(state: Mapping[str, Tensor], layout: Layout | None = None) -> dict[str, Tensor]:
    """The way back, for `models.weights.load_matching`; weights of the head and of cameras are passed over.

    Args:
        state: a CenterPoint's state dict.
        layout: of its sparse convolutions; None tells it from their shapes.

    Raises:
        ValueError: no LiDAR backbone in it, a shape that tells no layout.
    """
    block: Literal["residual", "plain", "pillars"] = "plain"
    if any(key.startswith(MMDET3D_PILLARS) for key in state):
        block = "pillars"
    elif any(key.endswith("encoder_layer1.0.conv1.weight") for key in state):
        block = "residual"
    modules = {theirs: f"encoder.{ours}" for ours, theirs in mmdet3d_modules(block).items()}
    two_d = {theirs: ours for ours, theirs in MMDET3D_2D.items()}
    return _known(state, modules, two_d, layout, "pts_middle_encoder.conv_input.0.weight")


def to_openpcdet(state: Mapping[str, Tensor], layout: Layout = "spconv2") -> dict[str, Tensor]:
    """Weights of a `LidarBev` of block "plain" under the names of OpenPCDet's VoxelBackBone8x, its encoder alone.

    Raises:
        ValueError: another encoder, a name that has no counterpart.
    """
    if _block_of(state) != "plain":
        raise ValueError(
            'VoxelBackBone8x has the block "plain" (preset second01), these weights have another'
        )
    encoder = {key: value for key, value in state.items() if key.startswith("encoder.")}
    return dict(_renamed(encoder, {f"encoder.{a}": b for a, b in openpcdet_modules().items()}, {}, layout))


def from_openpcdet(state: Mapping[str, Tensor], layout: Layout | None = None) -> dict[str, Tensor]:
    """The way back; all but the encoder is passed over.

    Raises:
        ValueError: no VoxelBackBone8x in it, a shape that tells no layout.
    """
    modules = {theirs: f"encoder.{ours}" for ours, theirs in openpcdet_modules().items()}
    return _known(state, modules, {}, layout, "backbone_3d.conv_input.0.weight")


_ENDS = (("stem", "input"), ("out", "out"))
_PARTS = (("conv", "0"), ("norm", "1"))
_RESIDUAL_PARTS = (("conv1", "conv1"), ("norm1", "bn1"), ("conv2", "conv2"), ("norm2", "bn2"))


def _num_blocks(block: str, stage: int) -> int:
    return 1 if block == "plain" and stage == 0 else 2


def _block_of(state: Mapping[str, Tensor]) -> Literal["residual", "plain", "pillars"]:
    if "encoder.linear.weight" in state:
        return "pillars"
    return "residual" if "encoder.stages.0.blocks.0.conv1.weight" in state else "plain"


def _renamed(
    state: Mapping[str, Tensor], modules: Mapping[str, str], prefixes: Mapping[str, str], layout: Layout
) -> Iterator[tuple[str, Tensor]]:
    """Every tensor under its other name, sparse weights in the layout asked for."""
    for key, value in state.items():
        target = _target(key, modules, prefixes)
        if target is None:
            raise ValueError(f"{key} has no counterpart: expected the state dict of a LidarBev")
        if value.ndim == 5 and layout == "mmcv":
            value = value.permute(1, 2, 3, 4, 0).contiguous()
        yield target, value


def _known(
    state: Mapping[str, Tensor],
    modules: Mapping[str, str],
    prefixes: Mapping[str, str],
    layout: Layout | None,
    example: str,
) -> dict[str, Tensor]:
    """The tensors that have a name with us, sparse weights in our layout."""
    found = {}
    for key, value in state.items():
        target = _target(key, modules, prefixes)
        if target is not None:
            found[target] = _to_spconv2(key, target, value, layout) if value.ndim == 5 else value
    if not any(key.startswith("encoder.") for key in found):
        raise ValueError(
            f"no LiDAR encoder in these weights: expected names like {example}, got names like "
            f"{next(iter(state), '(none)')}"
        )
    return found


def _target(key: str, modules: Mapping[str, str], prefixes: Mapping[str, str]) -> str | None:
    for prefix, other in prefixes.items():
        if key.startswith(prefix):
            return other + key.removeprefix(prefix)
    module, _, name = key.rpartition(".")
    return f"{modules[module]}.{name}" if module in modules else None


def _to_spconv2(key: str, target: str, value: Tensor, layout: Layout | None) -> Tensor:
    kernel = (3, 1, 1) if target == "encoder.out.conv.weight" else (3, 3, 3)
    shape = tuple(value.shape)
    fits = {"spconv2": shape[1:4] == kernel, "mmcv": shape[:3] == kernel}
    if layout is None:
        if sum(fits.values()) != 1:
            raise ValueError(
                f"{key}: shape {shape} could be {' or '.join(k for k, ok in fits.items() if ok) or 'neither layout'} "
                f"of a kernel {kernel}; say which"
            )
        layout = "spconv2" if fits["spconv2"] else "mmcv"
    if not fits[layout]:
        raise ValueError(f"{key}: shape {shape} is no {layout} layout of a kernel {kernel}")
    return value if layout == "spconv2" else value.permute(4, 0, 1, 2, 3).contiguous()
