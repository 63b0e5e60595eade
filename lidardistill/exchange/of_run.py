"""Load and save a backbone's weights: from a pretraining run, a weights file, or random."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from lidardistill import __version__
from lidardistill.data.config import VoxelConfig
from lidardistill.engine.manifest import git_state
from lidardistill.exchange.foreign import own_names, stranger
from lidardistill.exchange.slidr import slidr_prefix, slidr_voxels
from lidardistill.weights import load_matching, read_card, read_checkpoint, save_backbone, tensors_by_name

BACKBONE_FILE = "backbone.safetensors"
CARD_FORMAT = "lidardistill backbone, spconv weight layout (out, kz, ky, kx, in)"

_DATA_KEYS = ("version", "split", "keyframes", "batch_size")
_VOXEL_KEYS = ("kind", "voxel_size", "point_features", "intensity_scale")
"""Keys of `voxels` that weights depend on; the range may differ."""


def load_student(
    student: nn.Module, weights: str, voxels: VoxelConfig | None = None, *, option: str = "--weights"
) -> str:
    """Load weights into a freshly built backbone, strictly.

    Args:
        student: the backbone.
        weights: `random`, a finished pretraining run, an exported file, or a file of SLidR's family, mmdet3d
            or OpenPCDet.
        voxels: of this run; if given, weights that were trained on other voxels are refused.
        option: name of the option or key in messages.

    Returns:
        The path of the file, or that the weights are random, for the record.

    Raises:
        FileNotFoundError: there is no such file, or the run has not finished.
        ValueError: the file cannot be read, or belongs to another architecture or to other voxels.
    """
    if weights == "random":
        return "random initialisation"
    path = Path(weights)
    if path.is_dir():
        path = path / BACKBONE_FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{weights} holds no {BACKBONE_FILE}: the pretraining run has not finished; run the same "
                "`lidardistill pretrain` command again to continue it"
            )
    elif not path.is_file():
        raise FileNotFoundError(
            f"{option} {weights}: expected a run folder, a weights file, or the word random"
        )
    content, card = read_checkpoint(path), read_card(path)
    tensors = tensors_by_name(content)
    try:
        own = own_names(tensors)
        if not own.keys() & student.state_dict().keys():
            raise ValueError(stranger(own, type(student).__name__))
        if slidr_prefix(tensors) is not None:
            _check_voxels(slidr_voxels(content), voxels)
        elif card is not None and card.get("format") == CARD_FORMAT:
            _check_voxels(card.get("voxels", {}), voxels)
        load_matching(student, own, name="the file")
    except ValueError as error:
        hint = "" if card is None else f" Its card says student: {card.get('student')}"
        raise ValueError(f"{option} {path}: {error}{hint}") from error
    return str(path)


def save_student(student: nn.Module, config: dict[str, Any], path: Path, *, steps: int) -> Path:
    """Write a backbone and its card.

    Args:
        student: the backbone.
        config: resolved pretraining config.
        path: `.safetensors` file; the card lies beside it as `.json`.
        steps: optimiser steps it was trained for.

    Returns:
        The card's path.
    """
    card = {
        "format": CARD_FORMAT,
        "version": __version__,
        "commit": git_state()["commit"],
        "name": config.get("name"),
        "steps": steps,
        "student": config["student"],
        "voxels": config["voxels"],
        "teacher": config["teacher"],
        "method": config["method"],
        "bev_term": config["bev_term"],
        "recipe": {key: config[key] for key in ("optimizer", "schedule", "trainer") if key in config},
        "data": {key: config["data"][key] for key in _DATA_KEYS if key in config["data"]},
        "seed": config["seed"],
    }
    return save_backbone(path, student.state_dict(), card)


def _check_voxels(trained: Mapping[str, Any], voxels: VoxelConfig | None) -> None:
    """Refuse voxels other than those that the weights were trained on."""
    if voxels is None:
        return
    for key in _VOXEL_KEYS:
        expected, got = trained.get(key), getattr(voxels, key)
        if expected is None or _same(expected, got):
            continue
        shown = list(expected) if isinstance(expected, (tuple, list)) else expected
        raise ValueError(
            f"these weights were trained with voxels.{key} {shown}, and this run has "
            f"{list(got) if isinstance(got, tuple) else got}: set voxels.{key}={shown}."
        )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return math.isclose(a, b, rel_tol=1e-6) if isinstance(a, (int, float)) else bool(a == b)
