"""MinkUNet weights under the names of mmdet3d 1.4's MinkUNetBackbone with the backend "spconv".

Three things differ there. Voxels are ordered x, y, z, so the axes of every kernel are reversed. A 1x1x1
shortcut is a sparse convolution, and spconv 2 multiplies its weight as (in, out) although its shape is
(out, 1, 1, 1, in). The stem has a second convolution, which ours lacks: we write it as the identity.

The file is for mmdet3d on spconv 2, the only one of its three backends on PyPI. mmcv's own sparse
convolutions would read the same names, but misread the shortcuts that change the width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lidardistill.backbones.minkunet.net import LEVELS
from lidardistill.exchange.layout import Layout, from_layout, known, renamed, reverse_axes, to_layout

PREFIX = "backbone."
_PARTS = (("conv", "0"), ("norm", "1"))
_BLOCK_PARTS = (
    ("conv1", "conv1"),
    ("norm1", "bn1"),
    ("conv2", "conv2"),
    ("norm2", "bn2"),
    ("projection.0", "downsample.0"),
    ("projection.1", "downsample.1"),
)
_SECOND_STEM = f"{PREFIX}conv_input.1"
_EPS = 1e-5  # of BatchNorm1d, theirs and ours
_TOLERANCE = 1e-4


def minkunet_modules(num_blocks: int) -> dict[str, str]:
    """Module names of ours and of theirs, for levels of at most `num_blocks` residual blocks."""
    names = {f"stem.{a}": f"conv_input.0.{b}" for a, b in _PARTS}
    for level in range(LEVELS):
        names |= {f"down.{level}.{a}": f"encoder.{level}.0.{b}" for a, b in _PARTS}
        names |= {f"up.{level}.{a}": f"decoder.{level}.0.{b}" for a, b in _PARTS}
        for block in range(num_blocks):
            for a, b in _BLOCK_PARTS:
                names[f"encoder.{level}.{block}.{a}"] = f"encoder.{level}.{block + 1}.{b}"
                names[f"decoder.{level}.{block}.{a}"] = f"decoder.{level}.1.{block}.{b}"
    return {ours: PREFIX + theirs for ours, theirs in names.items()}


def minkunet_to_mmdet3d(state: Mapping[str, Tensor], layout: Layout = "mmcv") -> dict[str, Tensor]:
    """Weights of a `MinkUNet` under the names of mmdet3d's.

    Args:
        state: its state dict.
        layout: "mmcv" for a file that mmdet3d on spconv 2 reads, "spconv2" as its modules hold them
            afterwards.

    Returns:
        All of them, and the second convolution of the stem as an identity.

    Raises:
        ValueError: a name that has no counterpart.
    """
    theirs = renamed(state, minkunet_modules(_num_blocks(state)), {}, "MinkUNet")
    theirs |= _identity(state)
    out = {}
    for key, value in theirs.items():
        if value.ndim == 2:
            # spconv reads the memory of a 1x1x1 weight as (in, out), although its shape is (out, ..., in).
            value = value.t().contiguous().view(value.shape[0], 1, 1, 1, value.shape[1])
        elif value.ndim == 5:
            value = reverse_axes(value)
        out[key] = to_layout(value, layout) if value.ndim == 5 else value
    return out


def minkunet_from_mmdet3d(state: Mapping[str, Tensor], layout: Layout | None = None) -> dict[str, Tensor]:
    """mmdet3d's weights under our names, without the head.

    Args:
        state: state dict of mmdet3d's MinkUNet with the backend "spconv".
        layout: of its sparse convolutions; None infers it from the stem's.

    Raises:
        ValueError: no such backbone in it; a second convolution of the stem that is not the identity.
    """
    modules = {theirs: ours for ours, theirs in minkunet_modules(_num_blocks(state)).items()}
    backbone = {key: value for key, value in state.items() if not key.startswith(_SECOND_STEM)}
    found = known(backbone, modules, {}, (PREFIX,))
    if "stem.conv.weight" not in found:
        raise ValueError(
            f"no MinkUNet in these weights: expected names like {PREFIX}conv_input.0.0.weight, got names "
            f"like {next(iter(state), '(none)')}"
        )
    if layout is None:
        key, weight = found["stem.conv.weight"]
        layout = "mmcv" if from_layout(key, weight, (3, 3, 3), None) is not weight else "spconv2"
    _refuse_another_stem(state, layout)
    ours = {}
    for target, (key, value) in found.items():
        if value.ndim == 5:
            one = ".projection." in target
            kernel = (1, 1, 1) if one else (2, 2, 2) if target.startswith(("down.", "up.")) else (3, 3, 3)
            value = from_layout(key, value, kernel, layout)
            width_out, width_in = value.shape[0], value.shape[4]
            value = value.reshape(width_in, width_out).t().contiguous() if one else reverse_axes(value)
        ours[target] = value
    return ours


def _num_blocks(state: Mapping[str, Tensor]) -> int:
    """Largest number of blocks of a level."""
    numbers = (part for key in state for part in key.split(".") if part.isdecimal())
    return 1 + max(map(int, numbers), default=0)


def _identity(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A convolution, BatchNorm and ReLU that leave the stem's output, which no ReLU can change, as it is.

    The BatchNorm's mean and variance are those of the ReLU's output for a normal input with the stem's own
    bias and scale. So it is exactly the identity with running statistics, and nearly so with those of a
    batch.
    """
    scale, shift = state["stem.norm.weight"].double().abs().clamp(min=1e-6), state["stem.norm.bias"].double()
    ratio = shift / scale
    below = 0.5 * (1 + torch.erf(ratio / math.sqrt(2)))
    density = torch.exp(-0.5 * ratio**2) / math.sqrt(2 * math.pi)
    mean = shift * below + scale * density
    variance = ((shift**2 + scale**2) * below + shift * scale * density - mean**2).clamp(min=1e-6)
    example = state["stem.norm.weight"]
    width = len(example)
    kernel = example.new_zeros(width, 3, 3, 3, width)
    kernel[:, 1, 1, 1, :] = torch.eye(width, dtype=example.dtype, device=example.device)
    # In float32 steps, so that scale and statistics cancel as exactly as float32 allows.
    mean, variance = mean.to(example.dtype), variance.to(example.dtype)
    return {
        f"{_SECOND_STEM}.0.weight": kernel,
        f"{_SECOND_STEM}.1.weight": torch.sqrt(variance + _EPS),
        f"{_SECOND_STEM}.1.bias": mean.clone(),
        f"{_SECOND_STEM}.1.running_mean": mean,
        f"{_SECOND_STEM}.1.running_var": variance,
        f"{_SECOND_STEM}.1.num_batches_tracked": torch.zeros((), dtype=torch.long),
    }


def _refuse_another_stem(state: Mapping[str, Tensor], layout: Layout) -> None:
    key = f"{_SECOND_STEM}.0.weight"
    if key not in state:
        return
    weight = from_layout(key, state[key], (3, 3, 3), layout)
    rest = weight.clone()
    rest[:, 1, 1, 1, :] -= torch.eye(weight.shape[0], dtype=weight.dtype)
    mean, bias = (state[f"{_SECOND_STEM}.1.{name}"] for name in ("running_mean", "bias"))
    spread, scale = (
        (state[f"{_SECOND_STEM}.1.running_var"] + _EPS).sqrt(),
        state[f"{_SECOND_STEM}.1.weight"],
    )
    gap = max(float(part.abs().max()) for part in (rest, mean - bias, spread - scale))
    if gap > _TOLERANCE:
        raise ValueError(
            f"{key}: mmdet3d's MinkUNet has two convolutions in its stem and ours has one, so only weights "
            f"whose second one is the identity that `lidardistill export` writes can come back; these "
            f"differ from it by {gap:.2g}"
        )
