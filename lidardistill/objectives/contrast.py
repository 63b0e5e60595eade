"""InfoNCE between rows that match."""

from __future__ import annotations

import functools
import logging
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lidardistill.spans import spanned

_log = logging.getLogger(__name__)


@spanned("loss")
def info_nce(
    anchor: Tensor,
    positive: Tensor,
    temperature: float,
    *,
    candidates: Tensor | None = None,
    candidate_offset: int = 0,
    symmetric: bool = False,
    anchor_candidates: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of finding each anchor's positive among all candidates.

    Rows are taken as they are (SLidR's superpixel means are not re-normalised); logits are computed in
    float32.

    Args:
        anchor: (K, D) floating point.
        positive: (K, D), row k matches anchor k.
        temperature: divisor of the dot products, > 0.
        candidates: (N, D) candidates of each anchor, with the positives at rows
            candidate_offset .. candidate_offset + K - 1 (the rows of all ranks, `ops.all_gather_ragged`);
            None: the positives.
        candidate_offset: see `candidates`.
        symmetric: average with the other direction, positives choosing among anchors.
        anchor_candidates: (N, D) candidates of the positives, if `symmetric` and `candidates` are given.

    Returns:
        Scalar float32 (float64 for float64 inputs). With K = 0 a zero through which gradients (zeros) reach
        every input, so that collectives and optimisers go on; this is logged once.

    Raises:
        ValueError: temperature not above 0, rows that do not match, an offset outside the candidates.

    Source: van den Oord et al., 2018; SLidR (Sautier et al., CVPR 2022), equation 4: one direction, 0.07.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"info_nce: temperature must be a finite number above 0, got {temperature}")
    if anchor.ndim != 2 or anchor.shape != positive.shape:
        raise ValueError(
            "info_nce: anchor and positive must both be (K, D) with matching rows, "
            f"got {tuple(anchor.shape)} and {tuple(positive.shape)}"
        )
    if symmetric and (candidates is None) != (anchor_candidates is None):
        raise ValueError("info_nce: symmetric needs candidates and anchor_candidates together, or neither")
    loss = _one_direction(anchor, positive, temperature, candidates, candidate_offset)
    if symmetric:
        other = _one_direction(positive, anchor, temperature, anchor_candidates, candidate_offset)
        loss = (loss + other) / 2
    return loss


def _one_direction(
    anchor: Tensor, positive: Tensor, temperature: float, candidates: Tensor | None, offset: int
) -> Tensor:
    num_rows = anchor.shape[0]
    if candidates is None:
        candidates, offset = positive, 0
    if candidates.ndim != 2 or candidates.shape[1] != anchor.shape[1]:
        raise ValueError(
            f"info_nce: candidates must be (N, {anchor.shape[1]}) as anchor, got {tuple(candidates.shape)}"
        )
    if not 0 <= offset <= candidates.shape[0] - num_rows:
        raise ValueError(
            f"info_nce: the {num_rows} positives must lie inside the candidates, "
            f"got candidate_offset {offset} of {candidates.shape[0]} rows"
        )
    dtype = torch.float64 if anchor.dtype == torch.float64 else torch.float32
    if num_rows == 0:
        _say_empty_once()
        return sum(
            (rows.to(dtype).sum() * 0 for rows in (anchor, positive, candidates)),
            anchor.new_zeros((), dtype=dtype),
        )
    with torch.autocast(anchor.device.type, enabled=False):
        logits = anchor.to(dtype) @ candidates.to(dtype).T / temperature
        target = torch.arange(offset, offset + num_rows, device=anchor.device)
        return F.cross_entropy(logits, target)


@functools.cache
def _say_empty_once() -> None:
    _log.warning(
        "info_nce: nothing in this batch (no superpixel, no cell) was seen from both sides, so its "
        "contrastive loss is 0; expected now and then with strong augmentation. Said once."
    )
