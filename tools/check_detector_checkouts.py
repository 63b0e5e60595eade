"""Parts of tools/check_mmdet3d.py that need a checkout: BEVFusion of mmdetection3d, and OpenPCDet."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import parity as base
import torch
from torch import Tensor, nn

from lidardistill.data.batch import VoxelBatch

BEVFUSION = "projects/BEVFusion/configs/bevfusion_lidar_voxel0075_second_secfpn_8xb4-cyclic-20e_nus-3d.py"


def bevfusion(checkout: Path) -> dict[str, Any]:
    """The LiDAR branch of BEVFusion's own configuration, from voxels to the map in front of its head.

    Its two extensions are left out: the pooling of camera features is CUDA's alone, and the CPU's code for
        voxels
    reads beyond its table (it is made z, y, x and looked up x, y, z). The voxels are ours, counted x, y, z as
    its CUDA code counts them.
    """
    from mmdet3d.registry import MODELS
    from mmengine.config import Config

    base.register()
    sys.path.insert(0, str(checkout))
    place = "projects.BEVFusion.bevfusion.ops"
    sys.modules[f"{place}.bev_pool.bev_pool_ext"] = ModuleType("bev_pool_ext")
    voxels = ModuleType("voxel_layer")
    for name in (
        "hard_voxelize",
        *(f"dynamic_{x}" for x in ("voxelize", "point_to_voxel_forward", "point_to_voxel_backward")),
    ):
        setattr(voxels, name, None)
    sys.modules[f"{place}.voxel.voxel_layer"] = voxels
    cfg = Config.fromfile(str(checkout / BEVFUSION))
    net = base.filled("voxelnet0075")
    scans = base.two_clouds(net.voxels)
    inputs = base.bev_inputs(net, scans)
    base.draw(net, lambda: net(inputs).bev)
    path, _ = base.exported(net, base.bev_card("voxelnet0075", net), "mmdet3d-bevfusion")
    theirs = MODELS.build(cfg.model).eval()
    matched = base.load_into(theirs, path, "bbox_head.")
    coords = inputs.voxel_coords[:, [0, 3, 2, 1]].contiguous()
    maps = {}
    with torch.no_grad():
        for name, dtype in (
            ("bev_of_the_same_voxels", torch.float32),
            ("bev_of_the_same_voxels_float64", torch.float64),
        ):
            features = inputs.features.to(dtype)
            ours = net.to(dtype)(replace(inputs, features=features)).bev
            encoded = theirs.to(dtype).pts_middle_encoder(features, coords, len(scans))
            found = theirs.pts_neck(theirs.pts_backbone(encoded))[0]
            maps[name] = base.difference(ours, found.transpose(2, 3))  # theirs is x by y
    return {"config": BEVFUSION, **matched, "voxels": len(coords), **maps}


def openpcdet(checkout: Path, preset: str) -> dict[str, Any]:
    """OpenPCDet's modules, one after the other as its detectors run them; they are loaded one file at a
    time."""
    for package in ("pcdet", "pcdet.models", "pcdet.models.backbones_3d", "pcdet.models.backbones_3d.vfe"):
        module = ModuleType(package)
        module.__path__ = [str(checkout / package.replace(".", "/"))]
        sys.modules.setdefault(package, module)
    importlib.import_module("spconv.constants")  # their spconv_utils takes it for granted
    sparse_module = importlib.import_module("spconv.pytorch.modules").SparseModule
    np.int = int  # type: ignore[attr-defined]  # and their BaseBEVBackbone a numpy below 1.24
    net = base.filled(preset)
    scans = base.two_clouds(net.voxels)
    inputs = base.bev_inputs(net, scans)
    base.draw(net, lambda: net(inputs).bev)
    path, _ = base.exported(net, base.bev_card(preset, net), "openpcdet")
    theirs = _Detector(preset, net)
    state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    with mock.patch.object(sparse_module, "_load_from_state_dict", nn.Module._load_from_state_dict):
        theirs.load_state_dict(
            state, strict=True
        )  # without mmdet3d's patch of spconv, where that is imported
    theirs.eval()
    for name, module in theirs.named_modules():
        # spconv adds no bias on a CPU; the file has zeros for them.
        if "backbone_3d" in name and getattr(module, "bias", None) is not None and module.weight.ndim == 5:
            assert not module.bias.any()
            module.bias = None
    slots = _hard_voxels(inputs, 20)
    with torch.no_grad():
        ours, found = net(inputs).bev, theirs(slots, inputs.voxel_coords.int(), len(scans))
        assert inputs.point_features is not None
        inputs64 = replace(
            inputs, features=inputs.features.double(), point_features=inputs.point_features.double()
        )
        ours64 = net.double()(inputs64).bev
        found64 = theirs.double()(_hard_voxels(inputs64, 20), inputs.voxel_coords.int(), len(scans))
    return {
        "modules": " + ".join(type(m).__name__ for m in theirs.children()),
        "keys": len(state),
        "voxels": len(inputs.voxel_coords),
        "bev_of_the_same_voxels": base.difference(ours, found),
        "bev_of_the_same_voxels_float64": base.difference(ours64, found64),
    }


class _Options(dict):  # type: ignore[type-arg]
    __getattr__ = dict.__getitem__


class _Detector(nn.Module):
    def __init__(self, preset: str, net: Any) -> None:
        super().__init__()
        settings, voxels = net.layers, net.voxels
        two_d = _Options(
            LAYER_NUMS=settings.layers,
            LAYER_STRIDES=settings.strides,
            NUM_FILTERS=settings.widths,
            UPSAMPLE_STRIDES=settings.up_strides,
            NUM_UPSAMPLE_FILTERS=settings.neck_widths,
        )
        self.pillars, self.shape = preset.startswith("pillars"), net.encoder.bev_shape
        if self.pillars:
            module = importlib.import_module("pcdet.models.backbones_3d.vfe.pillar_vfe")
            options = _Options(
                USE_NORM=True,
                WITH_DISTANCE=False,
                USE_ABSLOTE_XYZ=True,
                NUM_FILTERS=[net.encoder.out_channels],
            )
            self.vfe = module.PillarVFE(
                options, len(base.FEATURES), voxels.voxel_size, voxels.point_cloud_range
            )
        else:
            module = importlib.import_module("pcdet.models.backbones_3d.spconv_backbone")
            block = "VoxelResBackBone8x" if net.encoder.block == "residual" else "VoxelBackBone8x"
            z, y, x = net.encoder.grid
            grid = np.array([x, y, z - 1])
            self.backbone_3d = getattr(module, block)(_Options(), len(base.FEATURES), grid)
        module = _from_file(
            "pcdet_bev_backbone",
            Path(module.__file__).parents[1 + self.pillars] / "backbones_2d/base_bev_backbone.py",
        )  # fmt: skip
        self.backbone_2d = module.BaseBEVBackbone(two_d, net.encoder.out_channels)

    def forward(self, slots: dict[str, Tensor], coords: Tensor, batch_size: int) -> Tensor:
        if self.pillars:
            found = self.vfe({**slots, "voxel_coords": coords})["pillar_features"]
            bev = found.new_zeros(batch_size, *self.shape, found.shape[1])
            b, _, row, col = coords.long().unbind(1)
            bev[b, row, col] = found
            bev = bev.permute(0, 3, 1, 2).contiguous()
        else:
            count = slots["voxel_num_points"][:, None]
            batch = {
                "voxel_features": slots["voxels"].sum(1) / count,
                "voxel_coords": coords,
                "batch_size": batch_size,
            }
            # HeightCompression
            dense = self.backbone_3d(batch)["encoded_spconv_tensor"].dense()
            bev = dense.flatten(1, 2)
        out: Tensor = self.backbone_2d({"spatial_features": bev})["spatial_features_2d"]
        return out


def _hard_voxels(inputs: VoxelBatch, limit: int) -> dict[str, Tensor]:
    """Points of each voxel side by side, zeros behind them: what OpenPCDet's data pipeline makes."""
    points, row = inputs.point_features, inputs.point2voxel
    assert points is not None
    keep = inputs.point_mask.nonzero()[:, 0]
    points, row = points[keep], row[keep]
    order = torch.argsort(row, stable=True)
    row = row[order]
    rank = torch.arange(len(row)) - torch.searchsorted(row, row)
    inside = rank < limit
    voxels = points.new_zeros(len(inputs.voxel_coords), limit, points.shape[1])
    voxels[row[inside], rank[inside]] = points[order][inside]
    count = torch.bincount(row, minlength=len(voxels)).clamp(max=limit)
    return {"voxels": voxels, "voxel_num_points": count.to(points.dtype)}


def _from_file(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
