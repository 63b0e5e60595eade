"""Weights of a `CenterHead` under the names of mmdet3d, and back."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lidardistill.exchange.layout import (
    known,
    renamed,
)
from lidardistill.tasks.detect.center.head import BRANCHES

HEAD = "pts_bbox_head."


def head_to_mmdet3d(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a `CenterHead` under the names of mmdet3d's.

    Raises:
        ValueError: a name that has no counterpart.
    """
    num_tasks = len({key.split(".")[1] for key in state if key.startswith("tasks.")})
    return renamed(state, _head_modules(num_tasks), {}, "CenterHead")


def head_from_mmdet3d(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a `CenterHead` under our names, from a CenterPoint's state dict.

    Raises:
        ValueError: no head in it.
    """
    tasks = {key.split(".")[2] for key in state if key.startswith(f"{HEAD}task_heads.")}
    found = known(state, {theirs: ours for ours, theirs in _head_modules(len(tasks)).items()}, {})
    if not found:
        raise ValueError(
            f"no CenterHead in these weights: expected names like {HEAD}shared_conv.conv.weight, got names "
            f"like {next(iter(state), '(none)')}"
        )
    return {target: value for target, (_, value) in found.items()}


_HEAD_NAMES = {"offset": "reg", "height": "height", "size": "dim", "rotation": "rot", "velocity": "vel"}


def _head_modules(num_tasks: int) -> dict[str, str]:
    names = {"shared.0": "shared_conv.conv", "shared.1": "shared_conv.bn"}
    branches = {name: _HEAD_NAMES[name] for name in BRANCHES} | {"heatmap": "heatmap"}
    for task in range(num_tasks):
        for ours, theirs in branches.items():
            place = f"task_heads.{task}.{theirs}"
            parts = (("0", "0.conv"), ("1", "0.bn"), ("3", "1"))
            names |= {f"tasks.{task}.{ours}.{a}": f"{place}.{b}" for a, b in parts}
    return {ours: HEAD + theirs for ours, theirs in names.items()}
