"""Classifier: a backbone with a linear layer on every row of its features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lidardistill.backbones.base import Backbone, Features
from lidardistill.data.batch import VoxelBatch


class Classifier(nn.Module):
    """Backbone and head; logits for every row of the backbone's features."""

    def __init__(self, backbone: Backbone, head: nn.Linear) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, voxels: VoxelBatch) -> tuple[Tensor, Features]:
        """(M, K) float32 logits of the rows of the features, and the features."""
        features: Features = self.backbone(voxels)
        return self.head(features.rows.float()), features


def seeded_head(in_features: int, num_classes: int, generator: torch.Generator) -> nn.Linear:
    """Linear layer with weights drawn from a generator."""
    head = nn.Linear(in_features, num_classes)
    with torch.no_grad():
        bound = in_features**-0.5
        head.weight.copy_(torch.rand(head.weight.shape, generator=generator) * 2 * bound - bound)
        head.bias.zero_()
    return head
