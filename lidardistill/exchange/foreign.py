"""Whose weights a file holds, told from the names in it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lidardistill.exchange.mmdet3d import from_mmdet3d
from lidardistill.exchange.mmdet3d_minkunet import minkunet_from_mmdet3d
from lidardistill.exchange.openpcdet import from_openpcdet

_WRAPPERS = ("state_dict.", "model_state.")
_READERS = {
    "pts_middle_encoder.": from_mmdet3d,
    "pts_voxel_encoder.pfn_layers.": from_mmdet3d,
    "backbone.conv_input.": minkunet_from_mmdet3d,
    "backbone_3d.": from_openpcdet,
    "vfe.pfn_layers.": from_openpcdet,
}


def own_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A backbone's tensors under our names, whoever's names they have.

    Args:
        tensors: out of `models.weights.load_checkpoint_tensors`: ours, mmdet3d's or OpenPCDet's.

    Returns:
        For `load_matching`. Tensors of theirs that are no part of a LiDAR backbone are passed over; ours, and
        names that belong to none of the three, come back as they are.

    Raises:
        ValueError: theirs, but with weights that ours cannot hold.
    """
    for wrapper in _WRAPPERS:
        inside = {k.removeprefix(wrapper): value for k, value in tensors.items() if k.startswith(wrapper)}
        tensors = inside or tensors
    for prefix, read in _READERS.items():
        if any(key.startswith(prefix) for key in tensors):
            return read(tensors)
    return dict(tensors)
