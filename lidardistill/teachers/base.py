"""A frozen image encoder that pretraining distils from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lidardistill.spans import spanned


class Teacher(nn.Module):
    """A frozen image encoder: no gradient, and eval mode also inside a network that trains.

    Args:
        encoder: (V, 3, H, W) RGB in 0..1 to (V, C, h, w), with attributes `out_channels` and `stride`.

    Attributes:
        out_channels: C.
        stride: pixels a cell of the map.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()
        self.out_channels: int = encoder.out_channels  # type: ignore[assignment]
        self.stride: int = encoder.stride  # type: ignore[assignment]

    def train(self, mode: bool = True) -> Teacher:
        """Keep eval mode: the running statistics of BatchNorm are frozen, too."""
        return super().train(False)

    @torch.no_grad()
    @spanned("teacher")
    def forward(self, images: Tensor) -> Tensor:
        """
        Args:
            images: (V, 3, H, W) floating RGB in 0..1; each teacher normalises them itself.

        Returns:
            (V, C, h, w) in the images' dtype or autocast's, without gradient.

        Raises:
            ValueError: not floating images with three channels.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(
                f"teacher: expected (V, 3, H, W) floating RGB in 0..1, got {tuple(images.shape)} "
                f"{images.dtype}"
            )
        return self.encoder(images)
