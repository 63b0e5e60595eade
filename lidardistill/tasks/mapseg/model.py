"""A bird's-eye-view backbone with a map head."""

from __future__ import annotations

from torch import Tensor, nn

from lidardistill.backbones.base import Backbone
from lidardistill.data.batch import VoxelBatch
from lidardistill.tasks.mapseg.map_head import MapHead


class MapSegmenter(nn.Module):
    """Backbone and head; logits for every cell of the map around each scan."""

    def __init__(self, backbone: Backbone, head: MapHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, voxels: VoxelBatch) -> Tensor:
        """(B, K, H, W) logits."""
        return self.head(self.backbone(voxels).bev)
