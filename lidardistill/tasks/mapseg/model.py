"""A bird's-eye-view backbone with a map head, and its file."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from lidardistill.backbones.lidar_bev.net import LidarBev
from lidardistill.data.batch import VoxelBatch
from lidardistill.tasks.mapseg.map_head import MapHead
from lidardistill.tasks.segment.classifier import MODEL_FILE


class MapSegmenter(nn.Module):
    """Backbone and head; logits for every cell of the map around each scan."""

    def __init__(self, backbone: LidarBev, head: MapHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, voxels: VoxelBatch) -> Tensor:
        """(B, K, H, W) logits."""
        return self.head(self.backbone(voxels).bev)


def load_segmenter(model: MapSegmenter, run: Path) -> MapSegmenter:
    """Load what a map segmentation run left behind into a freshly built model.

    Raises:
        FileNotFoundError: the run did not finish.
    """
    path = run / MODEL_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{run} holds no {MODEL_FILE}: expected a finished `lidardistill mapseg` run")
    model.load_state_dict(load_file(path))
    return model.eval()
