"""Export of a backbone into another project's checkpoint, as the same function of that project's points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from lidardistill.backbones.lidar_bev.config import PRESETS as BEV_PRESETS
from lidardistill.backbones.minkunet.config import PRESETS as MINKUNET_PRESETS
from lidardistill.exchange.inputs import with_columns
from lidardistill.exchange.mmdet3d import to_mmdet3d
from lidardistill.exchange.mmdet3d_minkunet import minkunet_to_mmdet3d
from lidardistill.exchange.openpcdet import to_openpcdet
from lidardistill.export.head_mmdet3d import head_to_mmdet3d
from lidardistill.export.mmdet3d_parts import (
    COLUMNS,
    MAX_POINTS,
    MINKUNET_BASE,
    PILLARS_BASE,
    SEGMENTOR_COLUMNS,
    VOXELNET_BASE,
    centerpoint_parts,
    minkunet_parts,
)

DetectorFormat = Literal["mmdet3d", "mmdet3d-bevfusion", "openpcdet"]


def detector_checkpoint(
    state: Mapping[str, Tensor], card: Mapping[str, Any], kind: DetectorFormat
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Checkpoint for another project, to be written by `torch.save`, and its card.

    Args:
        state: the backbone's tensors, and optionally those of a `CenterHead` under `head.`, for CenterPoint.
        card: of the backbone, written by `exchange.of_run.save_student`.
        kind: format of the checkpoint.

    Returns:
        Checkpoint: `state_dict` and `meta` for mmdet3d, `model_state` and `version` for OpenPCDet; tensors
        and plain values alone. Card: the backbone's, with `columns` of the points, `notes` on differences,
        and for mmdet3d `base` and `model`, the parts of a configuration that the weights fit.

    Raises:
        ValueError: a backbone that has no counterpart there, or features that the points there do not have.
    """
    voxels, student = card["voxels"], card["student"]
    minkunet = student["kind"] == "minkunet"
    if not minkunet and student["kind"] != "lidar_bev":
        raise ValueError(
            f"--format {kind}: these are the weights of a {student['kind']} network; expected a LiDAR "
            f"backbone, minkunet or lidar_bev"
        )
    head = {key.removeprefix("head."): value for key, value in state.items() if key.startswith("head.")}
    state = {key: value for key, value in state.items() if not key.startswith("head.")}
    if minkunet and kind != "mmdet3d":
        where = "OpenPCDet" if kind == "openpcdet" else "BEVFusion"
        raise ValueError(
            f"--format {kind}: {where} has no MinkUNet; expected a run of student.kind lidar_bev"
        )
    columns: tuple[str, ...] = COLUMNS
    if minkunet and "time_lag" not in voxels["point_features"]:
        columns = SEGMENTOR_COLUMNS
    state = with_columns(state, voxels["point_features"], columns, voxels["intensity_scale"])
    notes = _notes(voxels, columns, minkunet)
    foreign: dict[str, Any] = {"format": kind, "columns": list(columns), "notes": notes}
    if minkunet:
        tensors = minkunet_to_mmdet3d(state)
        foreign |= {
            "base": MINKUNET_BASE,
            "model": minkunet_parts(len(columns), MINKUNET_PRESETS[student["preset"]]),
        }
    elif kind == "openpcdet":
        tensors = to_openpcdet(state)
        if head:
            notes.append("without the head: its layers there have other biases")
    else:
        layers = BEV_PRESETS[student["preset"]]
        tensors = to_mmdet3d(state, detector="bevfusion" if kind == "mmdet3d-bevfusion" else "centerpoint")
        if kind == "mmdet3d":
            base = VOXELNET_BASE if layers.encoder == "voxelnet" else PILLARS_BASE
            foreign |= {
                "base": base,
                "model": centerpoint_parts(layers, voxels["voxel_size"], voxels["point_cloud_range"]),
            }
            if head:
                tensors |= head_to_mmdet3d(head)
                width = head["shared.0.weight"].shape[0]
                foreign["model"]["pts_bbox_head"] |= {
                    "share_conv_channel": width,
                    "separate_head": {"head_conv": width},
                }
        elif head:
            notes.append("without the head: BEVFusion has another")
        if layers.encoder == "pillars" and layers.encoder_options.get("max_points") is None:
            notes.append(
                f"a pillar there holds its first {MAX_POINTS['pillars']} points and zeros up to that "
                f"number, which take part in its maximum; here it holds every point and nothing else"
            )
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    foreign_card = {**card, **foreign}
    if kind == "openpcdet":
        return {"model_state": tensors, "version": f"lidardistill {card['version']}"}, foreign_card
    return {"state_dict": tensors, "meta": foreign_card}, foreign_card


def _notes(voxels: Mapping[str, Any], columns: tuple[str, ...], minkunet: bool) -> list[str]:
    """Notes for the user on the points and voxels that these weights expect."""
    notes = []
    absent = [name for name in columns if name not in voxels["point_features"]]
    if absent:
        notes.append(f"never seen in pretraining, so their weights are zeros: {', '.join(absent)}")
    if voxels["intensity_scale"] != 1:
        notes.append(
            f"the factor {voxels['intensity_scale']:g} of intensity is in the weights: give intensity as "
            f"stored"
        )
    if not minkunet:
        return notes
    notes.append("the second convolution of mmdet3d's stem is the identity")
    if voxels["kind"] != "cartesian":
        notes.append(
            f"pretrained on cylindrical voxels of {voxels['voxel_size']} (m, degrees, m), and mmdet3d's "
            f"MinkUNet makes cartesian ones; the plug-in makes these (configs/mmdet3d/minkunet34_plugin.py)"
        )
    return notes
