"""Diagnostics of matched features: they tell learning from collapse, which the loss alone does not."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

# Below these values all rows have nearly one direction, plus noise. A healthy run starts far above both.
_COLLAPSED_STD = 0.05
_COLLAPSED_RANK = 1.5
# A spread of fewer rows is meaningless.
_FEWEST_ROWS = 8


@torch.no_grad()
def contrast_diagnostics(anchor: Tensor, positive: Tensor, temperature: float) -> dict[str, Tensor]:
    """Feature quality of matched rows, all on the device, nothing read back.

    Args:
        anchor: (K, D) floating point, student.
        positive: (K, D), row k matches anchor k, teacher.
        temperature: divisor of the dot products, > 0.

    Returns:
        0-d float32 tensors by name; empty where K is 0.
        log_candidates: log K, the loss of guessing. A loss near it has learnt nothing.
        match_top1: share of anchors whose own positive is the most similar candidate, 0..1.
        alignment: mean squared distance of matched unit vectors, 0..4, lower is better.
        uniformity: log of the mean of exp(-2 d^2) over pairs of different anchors, unit vectors; 0 when
            collapsed, down to -4 for opposite points, lower is more uniform.
        anchor_std, positive_std: standard deviation over rows of unit vectors, root mean square over
            channels, times sqrt(D): 1 when spread over the sphere, 0 when collapsed.
        effective_rank: exp of the entropy of the anchors' normalised singular values, 1..min(K, D).

    Raises:
        ValueError: rows that do not match, temperature not above 0.

    Source: alignment and uniformity: Wang and Isola, ICML 2020, with alpha = 2, t = 2. Effective rank: Roy
    and Vetterli, EUSIPCO 2007. Standard deviation: Chen and He, SimSiam, CVPR 2021, section 4.1.
    """
    if not temperature > 0:
        raise ValueError(f"contrast_diagnostics: temperature must be above 0, got {temperature}")
    if anchor.ndim != 2 or anchor.shape != positive.shape:
        raise ValueError(
            "contrast_diagnostics: anchor and positive must both be (K, D) with matching rows, "
            f"got {tuple(anchor.shape)} and {tuple(positive.shape)}"
        )
    num_rows = anchor.shape[0]
    if num_rows == 0:
        return {}
    with torch.autocast(anchor.device.type, enabled=False):
        anchor, positive = anchor.float(), positive.float()
        logits = anchor @ positive.T / temperature
        rows = torch.arange(num_rows, device=anchor.device)
        unit_anchor, unit_positive = F.normalize(anchor, dim=1), F.normalize(positive, dim=1)
        return {
            "log_candidates": torch.full((), math.log(num_rows), device=anchor.device),
            "match_top1": (logits.argmax(1) == rows).float().mean(),
            "alignment": (unit_anchor - unit_positive).square().sum(1).mean(),
            "uniformity": _uniformity(unit_anchor),
            "anchor_std": _spread(unit_anchor),
            "positive_std": _spread(unit_positive),
            "effective_rank": effective_rank(anchor),
        }


@torch.no_grad()
def effective_rank(rows: Tensor) -> Tensor:
    """exp(entropy) of the singular values of (K, D) normalised to sum 1: a 0-d float32 tensor, 0 for all-zero
    rows.

    Source: Roy and Vetterli, EUSIPCO 2007. Differs from the paper in: singular values are square roots of the
    eigenvalues of the smaller Gram matrix, in float64.
    """
    exact = rows.double()
    gram = exact @ exact.T if rows.shape[0] < rows.shape[1] else exact.T @ exact
    # A row with NaN would make eigvalsh raise in the middle of a run that skips such steps.
    gram = torch.nan_to_num(gram, posinf=0.0, neginf=0.0)
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    total = singular.sum()
    share = singular / total.clamp(min=torch.finfo(torch.float64).tiny)
    return torch.where(total > 0, torch.special.entr(share).sum().exp(), 0.0).float()


def is_collapsed(diagnostics: Mapping[str, Tensor | float]) -> str | None:
    """A sentence for the user where the student's features have collapsed, else None.

    Args:
        diagnostics: of `contrast_diagnostics`, tensors or floats; reads them, so call it where the log is
            written.
    """
    if "log_candidates" not in diagnostics or float(diagnostics["log_candidates"]) < math.log(_FEWEST_ROWS):
        return None
    spread, rank = float(diagnostics["anchor_std"]), float(diagnostics["effective_rank"])
    if not (spread < _COLLAPSED_STD or rank < _COLLAPSED_RANK):
        return None
    return (
        f"the student's features have collapsed: standard deviation {spread:.3f} of 1, effective rank "
        f"{rank:.1f}, matches found {100 * float(diagnostics['match_top1']):.1f} %. Lower the learning rate, "
        "check that "
        "points and pixels belong together (lidardistill pairs --picture), and compare the loss with "
        f"log(candidates) = {float(diagnostics['log_candidates']):.2f}"
    )


def _uniformity(unit: Tensor) -> Tensor:
    """log mean exp(-2 d^2) over ordered pairs of different rows; 0 for a single row."""
    num_rows = unit.shape[0]
    if num_rows < 2:
        return unit.new_zeros(())
    squared = (2 - 2 * unit @ unit.T).clamp(min=0)
    others = ~torch.eye(num_rows, dtype=torch.bool, device=unit.device)
    exponent = torch.where(others, -2 * squared, -torch.inf)
    return torch.logsumexp(exponent.flatten(), 0) - math.log(num_rows * (num_rows - 1))


def _spread(unit: Tensor) -> Tensor:
    """Root mean square over channels of the standard deviation over rows, times sqrt(D)."""
    return unit.var(0, unbiased=False).sum().sqrt()
