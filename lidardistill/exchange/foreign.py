"""Origin of a weights file, recognised by the names of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from lidardistill.exchange.mmdet3d import from_mmdet3d
from lidardistill.exchange.mmdet3d_minkunet import minkunet_from_mmdet3d
from lidardistill.exchange.openpcdet import from_openpcdet
from lidardistill.exchange.slidr import from_slidr, slidr_prefix


@dataclass(frozen=True)
class Family:
    """A layout of LiDAR weights.

    Attributes:
        name: projects that write it.
        example: name of one of its tensors.
        marks: beginnings of names that occur in no other family.
        read: converts its tensors to ours.
    """

    name: str
    example: str
    marks: tuple[str, ...]
    read: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


_SLIDR = Family("SLidR, PPKT, ST-SLidR, Seal", "model_points.conv0p1s1.kernel", (), from_slidr)
_FAMILIES = (
    Family(
        "mmdet3d CenterPoint, BEVFusion",
        "pts_middle_encoder.conv_input.0.weight",
        ("pts_middle_encoder.", "pts_voxel_encoder.pfn_layers."),
        from_mmdet3d,
    ),
    Family(
        "mmdet3d MinkUNet", "backbone.conv_input.0.0.weight", ("backbone.conv_input.",), minkunet_from_mmdet3d
    ),
    Family(
        "OpenPCDet", "backbone_3d.conv_input.0.weight", ("backbone_3d.", "vfe.pfn_layers."), from_openpcdet
    ),
)
_WRAPPERS = ("state_dict.", "model_state.", "module.")

_NETWORKS = {
    "stem.conv.weight": "MinkUNet (student.kind minkunet)",
    "encoder.stem.conv.weight": "VoxelNet (student.kind lidar_bev, a voxelnet or second preset)",
    "encoder.linear.weight": "PointPillars (student.kind lidar_bev, a pillars preset)",
    "depth_net.weight": "camera network (camera_bev)",
}
"""A tensor under our names, and the network that it belongs to."""

_IMAGE_NETWORKS = {
    "layer1.0.conv1.weight": "ResNet (torchvision, MoCo, SwAV, DINO)",
    "_conv_stem.weight": "EfficientNet",
    "patch_embed.proj.weight": "vision transformer (DINO)",
    "embeddings.patch_embeddings.projection.weight": "vision transformer (transformers)",
    "embeddings.patch_embeddings.weight": "vision transformer (transformers)",
}
"""Ends of names that image networks have."""


def family_of(tensors: Mapping[str, Tensor]) -> Family | None:
    """The family of other projects that these names belong to, or None."""
    if slidr_prefix(tensors) is not None:
        return _SLIDR
    names = _unwrapped(tensors)
    return next((one for one in _FAMILIES if any(name.startswith(one.marks) for name in names)), None)


def own_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A backbone's tensors under our names.

    Args:
        tensors: of `weights.load_checkpoint_tensors`, from any known family.

    Returns:
        Tensors for `load_matching`, without the tensors of other families that are no part of a LiDAR
        backbone. Our own names, and unknown names, stay.

    Raises:
        ValueError: weights of another project that our backbone cannot hold.
    """
    family = family_of(tensors)
    if family is None:
        return _unwrapped(tensors)
    return family.read(tensors if family is _SLIDR else _unwrapped(tensors))


def stranger(names: Mapping[str, Tensor], expected: str) -> str:
    """Error sentence for tensors that do not belong to the expected network at all.

    Args:
        names: as `own_names` returns them.
        expected: name of that network.
    """
    if {"backbone", "head"} <= {name.partition(".")[0] for name in names}:
        return (
            "the file is the whole model of a probe, finetune, detect or mapseg run: give a pretraining run, "
            "or a file that `lidardistill export` wrote"
        )
    for mark, network in _NETWORKS.items():
        if mark in names:
            return (
                f"the file holds the weights of a {network}, and this run has a {expected}: change the "
                "student's config"
            )
    for mark, network in _IMAGE_NETWORKS.items():
        if any(name.endswith(mark) for name in names):
            return (
                f"the file holds an image network, {network}: it can be a teacher (teacher.weights), not a "
                "student"
            )
    known = "; ".join(
        f"{name}: {example}"
        for name, example in (
            ("lidardistill", "stem.conv.weight"),
            *((f.name, f.example) for f in (_SLIDR, *_FAMILIES)),
        )
    )
    return (
        f"unknown weights with names like {', '.join(list(names)[:2])}; the layouts that can be read have "
        f"names like {known}"
    )


def _unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = dict(tensors)
    for wrapper in _WRAPPERS:
        inside = {k.removeprefix(wrapper): value for k, value in found.items() if k.startswith(wrapper)}
        found = inside or found
    return found
