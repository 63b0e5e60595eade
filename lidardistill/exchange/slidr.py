"""Weights of the SLidR family: MinkowskiEngine's Res16UNet as SLidR, PPKT, ST-SLidR and Seal publish it.

A kernel there is (K^3, in, out), and its offset index runs fastest along the first coordinate: rho, then phi,
then z. Our coordinates are z, phi, rho, so `kernel.view(k, k, k, in, out)` already has our order of axes; no
axis is flipped, also not for transposed convolutions. A kernel of one cell is (in, out). A wrong order loads
without an error, so the test compares features with a sparse convolution by hand.

Source: SLidR (Sautier et al., CVPR 2022), `model/res16unet.py`, `pretrain/lightning_trainer.py: save` and
`downstream/model_builder.py: load_state_with_same_shape` of the released code; MinkowskiEngine 0.5.4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_STEM = "conv0p1s1.kernel"
_HEAD = "final."
"""The 1x1 convolution behind the backbone, which is a head here."""

_MODULES = (
    (r"conv0p1s1", "stem.conv"),
    (r"bn0\.bn", "stem.norm"),
    (r"conv([1-4])p\d+s2", "down.{0}.conv"),
    (r"bn([1-4])\.bn", "down.{0}.norm"),
    (r"convtr([4-7])p\d+s2", "up.{0}.conv"),
    (r"bntr([4-7])\.bn", "up.{0}.norm"),
)
_PARTS = {
    "conv1": "conv1",
    "norm1.bn": "norm1",
    "conv2": "conv2",
    "norm2.bn": "norm2",
    "downsample.0": "projection.0",
    "downsample.1.bn": "projection.1",
}
_BLOCK = re.compile(r"block([1-8])\.(\d+)\.(.+)")


def slidr_prefix(state: Mapping[str, Tensor]) -> str | None:
    """Beginning of the backbone's names, such as `model_points.` or `state_dict.model.`; None for another
    family.
    """
    return next((key.removesuffix(_STEM) for key in state if key.endswith(_STEM)), None)


def from_slidr(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A `MinkUNet`'s state dict; the head and the image network are left out.

    Args:
        state: tensors of a checkpoint of the family.

    Raises:
        ValueError: no such backbone, or a tensor of the backbone that a `MinkUNet` does not have.
    """
    prefix = slidr_prefix(state)
    if prefix is None:
        raise ValueError(
            f"no SLidR backbone in these weights: expected names like model_points.{_STEM}, got names like "
            f"{next(iter(state), '(none)')}"
        )
    ours = {}
    for key, value in state.items():
        name = key.removeprefix(prefix)
        if not key.startswith(prefix) or name.startswith(_HEAD):
            continue
        module, _, tensor = name.rpartition(".")
        target = _our_module(module)
        if target is None:
            if not prefix:  # a bare state dict may hold the image network as well
                continue
            raise ValueError(f"{key} has no counterpart in a MinkUNet: expected SLidR's Res16UNet")
        if tensor == "kernel":
            ours[f"{target}.weight"] = _from_kernel(key, value)
        else:
            ours[f"{target}.{tensor}"] = value
    return ours


def to_slidr(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A `MinkUNet`'s weights under the names of SLidR's network, without a head.

    Args:
        state: its state dict.

    Raises:
        ValueError: a name that has no counterpart.
    """
    theirs = {}
    for key, value in state.items():
        module, _, tensor = key.rpartition(".")
        target = _their_module(module)
        if target is None:
            raise ValueError(f"{key} has no counterpart: expected the state dict of a MinkUNet")
        if tensor == "weight" and value.ndim in (2, 5):
            theirs[f"{target}.kernel"] = _to_kernel(value)
        else:
            theirs[f"{target}.{tensor}"] = value
    return theirs


def slidr_voxels(content: Mapping[str, Any]) -> dict[str, Any]:
    """The voxels that a checkpoint of the family was trained on, as values of `voxels`.

    Args:
        content: of the file; SLidR stores its configuration as `config`. Without one, the published values
            are used.
    """
    config = content.get("config")
    config = config if isinstance(config, Mapping) else {}
    side = float(config.get("voxel_size", 0.1))
    cylindrical = bool(config.get("cylindrical_coordinates", True))
    return {
        "kind": "cylindrical" if cylindrical else "cartesian",
        "voxel_size": (side, 1.0 if cylindrical else side, side),
        "point_features": ("intensity",),
        "intensity_scale": 1.0,
    }


def _our_module(module: str) -> str | None:
    for pattern, target in _MODULES:
        if found := re.fullmatch(pattern, module):
            first = 4 if pattern.startswith((r"convtr", r"bntr")) else 1
            return target.format(*(int(number) - first for number in found.groups()))
    if (found := _BLOCK.fullmatch(module)) and found[3] in _PARTS:
        level = int(found[1]) - 1
        place = f"encoder.{level}" if level < 4 else f"decoder.{level - 4}"
        return f"{place}.{found[2]}.{_PARTS[found[3]]}"
    return None


def _their_module(module: str) -> str | None:
    kind, _, rest = module.partition(".")
    if kind == "stem":
        return {"conv": "conv0p1s1", "norm": "bn0.bn"}.get(rest)
    number, _, part = rest.partition(".")
    if not number.isdecimal():
        return None
    level = int(number)
    if kind == "down":
        return {"conv": f"conv{level + 1}p{2**level}s2", "norm": f"bn{level + 1}.bn"}.get(part)
    if kind == "up":
        return {"conv": f"convtr{level + 4}p{2 ** (4 - level)}s2", "norm": f"bntr{level + 4}.bn"}.get(part)
    block, _, name = part.partition(".")
    theirs = {ours: other for other, ours in _PARTS.items()}.get(name)
    if kind not in ("encoder", "decoder") or theirs is None:
        return None
    return f"block{level + (1 if kind == 'encoder' else 5)}.{block}.{theirs}"


def _from_kernel(key: str, kernel: Tensor) -> Tensor:
    """(K^3, in, out) to (out, z, phi, rho, in); (in, out), of one cell, to (out, in)."""
    if kernel.ndim == 2:
        return kernel.t().contiguous()
    side = round(kernel.shape[0] ** (1 / 3)) if kernel.ndim == 3 else 0
    if side**3 != (kernel.shape[0] if kernel.ndim else 0):
        raise ValueError(
            f"{key}: expected a kernel (K^3, in, out) or (in, out), got shape {tuple(kernel.shape)}"
        )
    return kernel.view(side, side, side, *kernel.shape[1:]).permute(4, 0, 1, 2, 3).contiguous()


def _to_kernel(weight: Tensor) -> Tensor:
    if weight.ndim == 2:
        return weight.t().contiguous()
    return weight.permute(1, 2, 3, 4, 0).flatten(0, 2).contiguous()
