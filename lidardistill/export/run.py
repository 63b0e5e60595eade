"""Export of the student backbone into a file for other frameworks, with a card that describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from lidardistill import __version__
from lidardistill.atomic import atomic_write, write_json_atomic
from lidardistill.engine.manifest import git_state
from lidardistill.engine.run_folder import run_values
from lidardistill.exchange.of_run import BACKBONE_FILE, CARD_FORMAT
from lidardistill.export.detector import DetectorFormat, detector_checkpoint
from lidardistill.export.slidr import slidr_checkpoint
from lidardistill.tasks.runs import MODEL_FILE
from lidardistill.weights import card_path, load_checkpoint_tensors, read_card, save_backbone

ENDINGS = {"safetensors": ".safetensors"} | dict.fromkeys(get_args(DetectorFormat), ".pth") | {"slidr": ".pt"}
"""Formats that a backbone can be exported in, and the endings of their files."""


def export_backbone(source: Path, path: Path, kind: str = "safetensors") -> Path:
    """Write the backbone of a finished run to a file.

    Args:
        source: a pretraining run; a detection run, whose head is exported too for mmdet3d's CenterPoint; or
            an exported `.safetensors` file with its card beside it.
        path: the file; `weights.card_path` is its card. Both are whole or absent.
        kind: key of `ENDINGS`.

    Returns:
        The card's path.

    Raises:
        FileNotFoundError: the run has not finished; the file or its card is not there.
        ValueError: an unknown format, a file name with another ending, or a backbone that the format cannot
            hold.
    """
    if kind not in ENDINGS:
        raise ValueError(f"--format {kind}: expected {', '.join(ENDINGS)}")
    if path.suffix != ENDINGS[kind]:
        raise ValueError(f"--out {path}: expected a file name that ends in {ENDINGS[kind]}")
    tensors, card = _read(source)
    if kind == "safetensors":
        backbone = {key: value for key, value in tensors.items() if not key.startswith("head.")}
        return save_backbone(path, backbone, card)
    if kind == "slidr":
        checkpoint, card = slidr_checkpoint(tensors, card)
    else:
        checkpoint, card = detector_checkpoint(tensors, card, kind)  # type: ignore[arg-type]
    with atomic_write(path) as stream:
        torch.save(checkpoint, stream)
    write_json_atomic(card_path(path), card)
    return card_path(path)


def _read(source: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and card of a backbone, and with a detection run those of its head behind `head.`."""
    if source.suffix == ".safetensors":
        tensors, card = load_checkpoint_tensors(source), read_card(source)
        if card is None:
            raise ValueError(
                f"--weights {source}: expected a file of `lidardistill export`, which holds a card, and "
                f"this one has none"
            )
        return tensors, card
    values = run_values(source)
    verb = values.get("verb")
    file = source / {"pretrain": BACKBONE_FILE, "detect": MODEL_FILE}.get(str(verb), BACKBONE_FILE)
    if verb not in ("pretrain", "detect") or not file.is_file():
        raise FileNotFoundError(
            f"{source} holds no {file.name}: expected a finished `lidardistill pretrain` run, or a finished "
            "`lidardistill detect` run"
        )
    tensors = load_checkpoint_tensors(file)
    if verb == "pretrain":
        card = read_card(file)
        if card is None:
            raise ValueError(
                f"{file} holds no card: it is damaged or was not written by `lidardistill pretrain`"
            )
        return tensors, card
    if any(key.startswith("camera.") for key in tensors):
        raise ValueError(f"{source} is a detector with cameras; expected one that sees points alone")
    card = {
        "format": CARD_FORMAT,
        "version": __version__,
        "commit": git_state()["commit"],
        "name": values.get("name"),
        "student": values["student"],
        "voxels": values["voxels"],
        "method": {"kind": "detect"},
        "recipe": {key: values[key] for key in ("optimizer", "schedule", "trainer") if key in values},
        "weights": values.get("weights"),
        "data": {key: values["data"][key] for key in ("version", "train_split", "label_percent")},
        "seed": values["seed"],
    }
    return {key.removeprefix("backbone."): value for key, value in tensors.items()}, card
