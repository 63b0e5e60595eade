"""Focal loss of independent classes on a map: a cell may be both walkway and crossing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sigmoid_focal_loss(
    logits: Tensor, masks: Tensor, *, gamma: float = 2.0, alpha: float | None = None
) -> Tensor:
    """Binary cross-entropy of each class, with less weight on cells that are already predicted well.

    Args:
        logits: (B, K, H, W) floating point.
        masks: (B, K, H, W) bool.
        gamma: power of the error; 0 is plain cross-entropy.
        alpha: weight of cells that are True, 1 - alpha of the others; None weighs them alike.

    Returns:
        (K,) float32 (float64 stays), each class's mean over cells.

    Raises:
        ValueError: shapes that differ, masks that are not bool, or no cells.

    Source: Focal Loss (Lin et al., ICCV 2017) equation 5; BEVFusion (Liu et al., ICRA 2023) adds the classes'
        means, with gamma 2 and no alpha.
    """
    if logits.shape != masks.shape or logits.ndim != 4 or masks.dtype != torch.bool or not logits.numel():
        raise ValueError(
            f"expected logits and bool masks (B, K, H, W) with cells, got {tuple(logits.shape)} and "
            f"{tuple(masks.shape)} {masks.dtype}"
        )
    logits = logits if logits.dtype == torch.float64 else logits.float()
    signed = torch.where(masks, logits, -logits)  # logit of the right answer
    loss = -F.logsigmoid(signed) * torch.sigmoid(-signed) ** gamma
    if alpha is not None:
        loss = loss * torch.where(masks, alpha, 1 - alpha)
    return loss.mean(dim=(0, 2, 3))
