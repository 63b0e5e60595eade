"""Our backbones in mmdet3d 1.4's registry: `custom_imports = dict(imports=["lidardistill.plugins.mmdet3d"])`.

| type | takes the place of |
|---|---|
| `LidardistillVoxelNet` | `pts_middle_encoder`: SparseEncoder |
| `LidardistillPillars` | `pts_voxel_encoder`: PillarFeatureNet |
| `LidardistillMinkUNet` | `backbone`: MinkUNetBackbone |
| `LidardistillVoxels` | `data_preprocessor`: Det3DDataPreprocessor, for LidardistillMinkUNet |

They train on a CPU too, where spconv's own convolutions are wrong with more than one thread and have no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet3d.models.data_preprocessors import Det3DDataPreprocessor
from mmdet3d.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from lidardistill.backbones.lidar_bev.pillars import PillarNet
from lidardistill.backbones.lidar_bev.voxelnet import VoxelNet
from lidardistill.backbones.minkunet.config import MinkUNetConfig
from lidardistill.backbones.minkunet.net import MinkUNet
from lidardistill.data.config import VoxelConfig
from lidardistill.data.voxel_input import ScanInput
from lidardistill.exchange.foreign import own_names
from lidardistill.weights import load_checkpoint_tensors, load_matching


class _Backbone(BaseModule):
    """A network of ours, whose parameters are called `net.` here; it loads mmdet3d's names as well as its own.

    `load_from`, `resume` and `load_state_dict` take a file of `lidardistill export --format mmdet3d`, or a checkpoint
    of mmdet3d's own module in this place.

    Args:
        net: the network.
        weights: read when mmengine initialises the model, before `load_from`: a finished pretraining run, or a file of
            `lidardistill export` in any of its formats.
        part: beginning of the names of its tensors with us.
        place: beginning of their names in a detector.
    """

    def __init__(self, net: nn.Module, weights: str | None, part: str, place: str) -> None:
        super().__init__()
        self.net, self.weights, self.part, self.place = net, weights, part, place
        self._register_load_state_dict_pre_hook(self._take_their_names)

    def init_weights(self) -> None:
        """Called by mmengine's Runner before training; weights that do not fit stop it.

        Raises:
            FileNotFoundError: there is no such file, or the run has not finished.
            ValueError: the weights are those of another network.
        """
        super().init_weights()
        if self.weights is None:
            return
        path = Path(self.weights)
        tensors = load_checkpoint_tensors(path / "backbone.safetensors" if path.is_dir() else path)
        load_matching(self.net, self._own_part(tensors), name=str(path))

    def _take_their_names(self, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
        """Rename what stands in `state` for this module, in place, if it has mmdet3d's names."""
        here = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if not here or any(key.startswith("net.") for key in here):
            return
        for key in here:
            del state[prefix + key]
        own = self._own_part({self.place + key: value for key, value in here.items()})
        state.update({f"{prefix}net.{key}": value for key, value in own.items()})

    def _own_part(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        own = own_names(tensors)
        return {key.removeprefix(self.part): v for key, v in own.items() if key.startswith(self.part)}


@MODELS.register_module()
class LidardistillVoxelNet(_Backbone):
    """`VoxelNet` as `pts_middle_encoder` of CenterPoint.

    Args:
        in_channels: features of a voxel.
        sparse_shape: (3,) cells z, y, x.
        widths: channels of the four stages.
        out_channels: channels of the last convolution.
        block: "residual" or "plain".
        weights: see `_Backbone`.
    """

    def __init__(
        self,
        in_channels: int = 5,
        sparse_shape: Sequence[int] = (41, 1024, 1024),
        widths: Sequence[int] = (16, 32, 64, 128),
        out_channels: int = 128,
        block: Any = "residual",
        weights: str | None = None,
    ) -> None:
        super().__init__(
            VoxelNet(in_channels, sparse_shape, widths, out_channels, block),
            weights,
            "encoder.",
            "pts_middle_encoder.",
        )

    def forward(self, voxel_features: Tensor, coors: Tensor, batch_size: int | Tensor) -> Tensor:
        """(M, F) features and (M, 4) batch, z, y, x of the voxels to a map (B, C, H = y, W = x)."""
        bev: Tensor = self.net(voxel_features, coors.int(), int(batch_size))
        return bev


@MODELS.register_module()
class LidardistillPillars(_Backbone):
    """`PillarNet` without its scatter, as `pts_voxel_encoder` in front of PointPillarsScatter.

    Args:
        in_channels: features of a point, x, y, z first.
        voxel_size: (3,) x, y, z metres of a pillar.
        point_cloud_range: (6,) x_min y_min z_min x_max y_max z_max, metres.
        out_channels: channels of a pillar.
        fill: let the empty slots of a pillar take part in its maximum, as mmdet3d does and its weights expect;
            False for weights that were pretrained here without `max_points`.
        weights: see `_Backbone`.
    """

    def __init__(
        self,
        in_channels: int = 5,
        voxel_size: Sequence[float] = (0.2, 0.2, 8.0),
        point_cloud_range: Sequence[float] = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0),
        out_channels: int = 64,
        fill: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__(
            PillarNet(in_channels, voxel_size, point_cloud_range, out_channels),
            weights,
            "encoder.",
            "pts_voxel_encoder.",
        )
        self.fill = fill

    def forward(self, features: Tensor, num_points: Tensor, coors: Tensor, *_: Any) -> Tensor:
        """(M, P, F) points of each pillar, (M,) how many, (M, 4) batch, z, y, x to (M, C)."""
        net = self.net
        assert isinstance(net, PillarNet)
        num_pillars, slots, _width = features.shape
        net.max_points = slots if self.fill else None
        pillar = torch.arange(num_pillars, device=features.device).repeat_interleave(slots)
        filled = torch.arange(slots, device=features.device) < num_points[:, None]
        return net.encode(features.flatten(0, 1), pillar, filled.flatten(), coors.int())


@MODELS.register_module()
class LidardistillMinkUNet(_Backbone):
    """`MinkUNet` as `backbone` of mmdet3d's MinkUNet, behind `LidardistillVoxels`.

    Args:
        in_channels: features of a voxel.
        preset: key of `backbones.minkunet.config.PRESETS`.
        weights: see `_Backbone`.
    """

    def __init__(self, in_channels: int = 1, preset: Any = "minkunet34", weights: str | None = None) -> None:
        super().__init__(MinkUNet(in_channels, MinkUNetConfig(preset=preset)), weights, "", "backbone.")

    def forward(self, voxel_features: Tensor, coors: Tensor) -> Tensor:
        """(M, F) features and (M, 4) batch, z, y, x of the voxels to (M, C), rows as given."""
        coors = coors.int()
        batch_size, *shape = (int(n) for n in coors.max(0).values + 1)
        out: Tensor = self.net.convolve(voxel_features, coors, shape, batch_size)
        return out


@MODELS.register_module()
class LidardistillVoxels(Det3DDataPreprocessor):
    """The voxels that a MinkUNet was pretrained on, cylindrical ones included, for mmdet3d's segmentors.

    Args:
        voxels: `voxels` of the run, see `data.config.VoxelConfig`; without point_cloud_range, since
            MinkUNetHead gives every point the logits of its voxel.
        others: of Det3DDataPreprocessor.

    Raises:
        ValueError: a point_cloud_range, or a feature that needs more than the points.
    """

    def __init__(self, voxels: dict[str, Any], **others: Any) -> None:
        super().__init__(voxel=False, **others)
        self.voxel = True
        config = VoxelConfig(**voxels)
        self.scan_input = ScanInput(config)
        if config.point_cloud_range is not None or "height" in config.point_features:
            raise ValueError(
                "LidardistillVoxels: expected voxels without point_cloud_range and without the feature height; cut the "
                "points with PointsRangeFilter in the pipeline instead"
            )

    @torch.no_grad()
    def voxelize(self, points: list[Tensor], data_samples: Sequence[Any]) -> dict[str, Tensor]:
        """Scans (N, 4 or more) to voxels, and to each sample what MinkUNetHead reads.

        Returns:
            voxels: (M, F) features, coors: (M, 4) int32 batch, z, y, x.
        """
        features, coors = [], []
        for number, (cloud, sample) in enumerate(zip(points, data_samples, strict=True)):
            scan = self.scan_input.read(cloud.detach().cpu().numpy().astype(np.float32, copy=False))
            point2voxel = torch.from_numpy(scan.point2voxel).to(cloud.device)
            rows = np.full(len(scan.voxel_coords), len(cloud))
            np.minimum.at(rows, scan.point2voxel, np.arange(len(cloud)))
            sample.point2voxel_map = point2voxel
            sample.batch_idx = torch.full((len(rows),), number, device=cloud.device)
            mask = getattr(getattr(sample, "gt_pts_seg", None), "pts_semantic_mask", None)
            if mask is not None:
                sample.gt_pts_seg.voxel_semantic_mask = mask[torch.from_numpy(rows).to(mask.device)]
            features.append(torch.from_numpy(scan.voxel_features).to(cloud.device))
            coords = torch.from_numpy(np.pad(scan.voxel_coords, ((0, 0), (1, 0)), constant_values=number))
            coors.append(coords.to(cloud.device))
        return {"voxels": torch.cat(features), "coors": torch.cat(coors)}
