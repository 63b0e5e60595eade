"""The student backbone alone, in a file that any other framework can read, and a card that says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from lidardistill import __version__
from lidardistill.engine.manifest import git_state
from lidardistill.engine.run_folder import run_values
from lidardistill.engine.student_weights import BACKBONE_FILE
from lidardistill.models.weights import load_checkpoint_tensors, save_backbone


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
        "format": "lidardistill backbone, spconv weight layout (out, kz, ky, kx, in)",
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


def export_backbone(run: Path, path: Path) -> Path:
    """Copy the backbone of a finished pretraining run to a file of its own.

    Returns:
        The card's path.

    Raises:
        FileNotFoundError: the run has not finished.
        ValueError: the file name does not end in .safetensors.
    """
    if path.suffix != ".safetensors":
        raise ValueError(f"--out {path}: expected a file name that ends in .safetensors")
    values = run_values(run)
    source = run / BACKBONE_FILE
    if values.get("verb") != "pretrain" or not source.is_file():
        raise FileNotFoundError(
            f"{run} holds no {BACKBONE_FILE}: expected a finished `lidardistill pretrain` run"
        )
    import json

    card = json.loads(source.with_suffix(".json").read_text())
    return save_backbone(path, load_checkpoint_tensors(source), card)
