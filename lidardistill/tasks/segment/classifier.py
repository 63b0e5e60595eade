"""A backbone with a linear layer that names the class of every row of its features, and its file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from lidardistill.atomic import atomic_write
from lidardistill.backbones.base import Backbone, Features
from lidardistill.data.batch import VoxelBatch

MODEL_FILE = "model.safetensors"


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


def save_classifier(model: nn.Module, run: Path) -> None:
    """Write `model.safetensors` into a run folder, whole or not at all."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_write(run / MODEL_FILE) as stream:
        stream.write(save(state))


def load_classifier(backbone: Backbone, num_classes: int, run: Path) -> Classifier:
    """The classifier that a probe or a fine-tuning run left behind.

    Raises:
        FileNotFoundError: the run did not finish, or is a pretraining run.
    """
    path = run / MODEL_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{run} holds no {MODEL_FILE}: expected a finished `lidardistill probe` or `lidardistill finetune` run"
        )
    model = Classifier(backbone, nn.Linear(backbone.out_channels, num_classes))
    model.load_state_dict(load_file(path))
    return model.eval()


def seeded_head(in_features: int, num_classes: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer drawn from a generator."""
    head = nn.Linear(in_features, num_classes)
    with torch.no_grad():
        bound = in_features**-0.5
        head.weight.copy_(torch.rand(head.weight.shape, generator=generator) * 2 * bound - bound)
        head.bias.zero_()
    return head
