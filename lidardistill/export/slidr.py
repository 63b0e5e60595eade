"""A MinkUNet in the checkpoint of SLidR, which SLidR's, ST-SLidR's and Seal's downstream code reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lidardistill.exchange.inputs import with_columns
from lidardistill.exchange.slidr import to_slidr

_COLUMNS = ("intensity",)
"""Input of SLidR's network: intensity as stored, 0..255."""


def slidr_checkpoint(
    state: Mapping[str, Tensor], card: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The content of the file, and its card.

    Args:
        state: the backbone's tensors.
        card: of the backbone, as `exchange.of_run.save_student` writes it.

    Returns:
        Checkpoint: `model_points` with the tensors, and `config` with the two keys that SLidR compares, where
        its voxels can be the same. Card: the backbone's, with `notes` on the differences there.

    Raises:
        ValueError: not a MinkUNet, or input features other than intensity.
    """
    student, voxels = card["student"], card["voxels"]
    if student["kind"] != "minkunet":
        raise ValueError(
            f"--format slidr: SLidR's checkpoints hold a MinkUNet, and this is a {student['kind']}; use "
            f"another format"
        )
    state = with_columns(state, voxels["point_features"], _COLUMNS, voxels["intensity_scale"])
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in to_slidr(state).items()}
    notes = []
    if voxels["intensity_scale"] != 1:
        notes.append(
            f"the factor {voxels['intensity_scale']:g} of intensity is in the weights: give intensity as "
            f"stored"
        )
    cylindrical = voxels["kind"] == "cylindrical"
    side, middle, height = (float(size) for size in voxels["voxel_size"])
    checkpoint: dict[str, Any] = {"model_points": tensors}
    if (
        height == side
        and middle == (1.0 if cylindrical else side)
        and voxels.get("rounding", "floor") == "floor"
    ):
        checkpoint["config"] = {"voxel_size": side, "cylindrical_coordinates": cylindrical}
    else:
        notes.append(
            f"SLidR's code cannot make these voxels ({voxels['kind']}, {voxels['voxel_size']}): features "
            f"will differ there"
        )
    if student["preset"] != "minkunet34":
        notes.append(
            f"SLidR's own network is minkunet34; {student['preset']} needs other LAYERS and PLANES there"
        )
    return checkpoint, {**card, "format": "slidr", "columns": list(_COLUMNS), "notes": notes}
