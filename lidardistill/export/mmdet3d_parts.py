"""The parts of an mmdet3d 1.4 configuration that a backbone's weights fit, as plain values.

Merge them into one of mmdet3d's own configurations: `Config.merge_from_dict({"model": parts})`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lidardistill.backbones.lidar_bev.config import LidarBevLayers
from lidardistill.backbones.lidar_bev.pillars import PillarNet
from lidardistill.backbones.lidar_bev.voxelnet import VoxelNet
from lidardistill.backbones.minkunet.config import MinkUNetLayers
from lidardistill.backbones.minkunet.net import LEVELS

COLUMNS = ("x", "y", "z", "intensity", "time_lag")
"""Columns of a point in mmdet3d's nuScenes pipelines: intensity as stored, time lag in seconds before the
keyframe."""
SEGMENTOR_COLUMNS = COLUMNS[:4]
MAX_POINTS = {"voxelnet": 10, "pillars": 20}
"""Largest number of points per voxel in CenterPoint's configurations."""

VOXELNET_BASE = "mmdet3d::centerpoint/centerpoint_voxel01_second_secfpn_8xb4-cyclic-20e_nus-3d.py"
PILLARS_BASE = "mmdet3d::centerpoint/centerpoint_pillar02_second_secfpn_8xb4-cyclic-20e_nus-3d.py"
MINKUNET_BASE = "mmdet3d::minkunet/minkunet34_w32_spconv_8xb2-laser-polar-mix-3x_semantickitti.py"
_NORM = {"eps": 1e-3, "momentum": 0.01}


def centerpoint_parts(
    layers: LidarBevLayers,
    voxel_size: Sequence[float],
    point_cloud_range: Sequence[float],
    in_channels: int = len(COLUMNS),
) -> dict[str, Any]:
    """Keys of a CenterPoint that the weights of a `LidarBev` fit.

    Args:
        layers: of the backbone.
        voxel_size: (3,) x, y, z metres.
        point_cloud_range: (6,) x_min y_min z_min x_max y_max z_max, metres.
        in_channels: columns of a point.

    Returns:
        Keys for `model`, including the sizes of the head's maps. Encoder and 2D backbone are complete.
    """
    size, bounds = list(voxel_size), list(point_cloud_range)
    x, y, z = (round((b - a) / s) for a, b, s in zip(bounds[:3], bounds[3:], size, strict=True))
    stride = VoxelNet.stride if layers.encoder == "voxelnet" else 1
    factor = round(stride * layers.strides[0] / layers.up_strides[0])
    places: dict[str, Any] = {"pc_range": bounds[:2], "out_size_factor": factor, "voxel_size": size[:2]}
    grid = {"grid_size": [x, y, z], "voxel_size": size, "point_cloud_range": bounds}
    return {
        "data_preprocessor": {"voxel_layer": {"voxel_size": size, "point_cloud_range": bounds}},
        **(
            _voxelnet(layers, in_channels, (z, y, x))
            if layers.encoder == "voxelnet"
            else _pillars(layers, in_channels, size, bounds, (y, x))
        ),
        "pts_neck": {
            "in_channels": list(layers.widths),
            "out_channels": list(layers.neck_widths),
            "upsample_strides": list(layers.up_strides),
            "use_conv_for_no_stride": True,
        },
        "pts_bbox_head": {"in_channels": sum(layers.neck_widths), "bbox_coder": places},
        "train_cfg": {"pts": {**grid, "out_size_factor": factor}},
        "test_cfg": {"pts": places},
    }


def minkunet_parts(in_channels: int, layers: MinkUNetLayers) -> dict[str, Any]:
    """Keys of mmdet3d's MinkUNet that the weights of a `MinkUNet` fit."""
    stem, widths, blocks = layers
    return {
        "data_preprocessor": {"batch_first": True},
        "backbone": {
            "type": "MinkUNetBackbone",
            "in_channels": in_channels,
            "base_channels": stem,
            "encoder_channels": list(widths[:LEVELS]),
            "encoder_blocks": list(blocks[:LEVELS]),
            "decoder_channels": list(widths[LEVELS:]),
            "decoder_blocks": list(blocks[LEVELS:]),
            "sparseconv_backend": "spconv",
        },
        "decode_head": {"channels": widths[-1]},
    }


def _voxelnet(layers: LidarBevLayers, in_channels: int, grid: tuple[int, int, int]) -> dict[str, Any]:
    net = VoxelNet(in_channels, (grid[0] + 1, 8, 8), **layers.encoder_options)
    residual = net.block == "residual"
    w = list(net.widths)
    if residual:
        channels = [[w[0], w[0], w[1]], [w[1], w[1], w[2]], [w[2], w[2], w[3]], [w[3], w[3]]]
        paddings: list[Any] = [[0, 0, 1], [0, 0, 1], [0, 0, [0, 1, 1]], [0, 0]]
    else:
        channels = [[w[0]], [w[1]] * 3, [w[2]] * 3, [w[3]] * 3]
        paddings = [[1], [1, 1, 1], [1, 1, 1], [[0, 1, 1], 1, 1]]
    return {
        "pts_voxel_encoder": {"type": "HardSimpleVFE", "num_features": in_channels},
        "pts_middle_encoder": {
            "type": "SparseEncoder",
            "in_channels": in_channels,
            "sparse_shape": [grid[0] + 1, *grid[1:]],
            "base_channels": w[0],
            "output_channels": net.out.conv.out_channels,
            "encoder_channels": channels,
            "encoder_paddings": paddings,
            "block_type": "basicblock" if residual else "conv_module",
        },
        "pts_backbone": _two_d(layers, net.out_channels),
    }


def _pillars(
    layers: LidarBevLayers, in_channels: int, size: list[float], bounds: list[float], grid: tuple[int, int]
) -> dict[str, Any]:
    net = PillarNet(in_channels, size, bounds, **layers.encoder_options)
    return {
        "pts_voxel_encoder": {
            "type": "PillarFeatureNet",
            "in_channels": in_channels,
            "feat_channels": [net.out_channels],
            "voxel_size": size,
            "point_cloud_range": bounds,
            "norm_cfg": {"type": "BN1d", **_NORM},
            "legacy": False,
        },
        "pts_middle_encoder": {
            "type": "PointPillarsScatter",
            "in_channels": net.out_channels,
            "output_shape": list(grid),
        },
        "pts_backbone": _two_d(layers, net.out_channels),
    }


def _two_d(layers: LidarBevLayers, in_channels: int) -> dict[str, Any]:
    return {
        "in_channels": in_channels,
        "out_channels": list(layers.widths),
        "layer_nums": list(layers.layers),
        "layer_strides": list(layers.strides),
    }
