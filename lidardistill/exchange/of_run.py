"""Where a backbone's weights come from: a pretraining run, an exported file, or chance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from lidardistill import __version__
from lidardistill.engine.manifest import git_state
from lidardistill.exchange.foreign import own_names
from lidardistill.weights import load_checkpoint_tensors, load_matching, save_backbone

BACKBONE_FILE = "backbone.safetensors"


def load_student(student: nn.Module, weights: str, *, option: str = "--weights") -> str:
    """Load weights into a freshly built backbone, strictly.

    Args:
        student: the backbone.
        weights: `random`, a finished pretraining run, or an exported file.
        option: what messages call it.

    Returns:
        What was loaded, for the record.

    Raises:
        FileNotFoundError: there is no such file, or the run has not finished.
        ValueError: the file cannot be read, or fits another architecture.
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
    tensors = own_names(load_checkpoint_tensors(path))
    try:
        load_matching(student, tensors)
    except ValueError as error:
        raise ValueError(
            f"{option} {path}: {error} Set student.preset and voxels as in the card beside it"
        ) from error
    return str(path)


_FORMAT = "lidardistill backbone, spconv weight layout (out, kz, ky, kx, in)"


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
        "format": _FORMAT,
        "version": __version__,
        "commit": git_state()["commit"],
        "steps": steps,
        "student": config["student"],
        "voxels": config["voxels"],
        "teacher": config["teacher"],
        "method": config["method"],
        "bev_term": config["bev_term"],
        "data": {key: config["data"][key] for key in ("version", "split")},
        "seed": config["seed"],
    }
    return save_backbone(path, student.state_dict(), card)
