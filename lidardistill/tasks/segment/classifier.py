"""A backbone with a linear layer that gives the class of every voxel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lidardistill.backbones.minkunet.net import MinkUNet
from lidardistill.data.batch import VoxelBatch
from lidardistill.tasks.segment.probe import run_backbone


class Classifier(nn.Module):
    """Backbone and head; logits for every voxel of a batch."""

    def __init__(self, backbone: MinkUNet, head: nn.Linear) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, voxels: VoxelBatch) -> Tensor:
        """(M, K) float32 logits."""
        return self.head(run_backbone(self.backbone, voxels))


def seeded_head(in_features: int, num_classes: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer drawn from a generator."""
    head = nn.Linear(in_features, num_classes)
    with torch.no_grad():
        bound = in_features**-0.5
        head.weight.copy_(torch.rand(head.weight.shape, generator=generator) * 2 * bound - bound)
        head.bias.zero_()
    return head
