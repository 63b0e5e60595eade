"""Focal loss of maps against a loop over cells."""

from __future__ import annotations

import math

import pytest
import torch

from lidardistill.tasks.mapseg.loss import sigmoid_focal_loss


def slow(logits, masks, gamma, alpha):
    batch, classes, height, width = logits.shape
    means = []
    for k in range(classes):
        total = 0.0
        for b in range(batch):
            for r in range(height):
                for c in range(width):
                    p = 1 / (1 + math.exp(-float(logits[b, k, r, c])))
                    true = bool(masks[b, k, r, c])
                    right = p if true else 1 - p
                    weight = 1.0 if alpha is None else (alpha if true else 1 - alpha)
                    total -= weight * (1 - right) ** gamma * math.log(right)
        means.append(total / (batch * height * width))
    return torch.tensor(means, dtype=torch.float64)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_against_a_loop(gamma, alpha):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    masks = torch.rand(2, 3, 4, 5, generator=generator) > 0.6
    torch.testing.assert_close(
        sigmoid_focal_loss(logits, masks, gamma=gamma, alpha=alpha), slow(logits, masks, gamma, alpha)
    )
    assert torch.autograd.gradcheck(
        lambda x: sigmoid_focal_loss(x, masks, gamma=gamma, alpha=alpha), logits.requires_grad_()
    )


def test_far_logits_stay_finite():
    logits = torch.tensor([-200.0, 200.0]).view(1, 1, 1, 2).requires_grad_()
    loss = sigmoid_focal_loss(logits, torch.tensor([True, False]).view(1, 1, 1, 2))
    assert loss.item() == pytest.approx(200.0)
    loss.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert sigmoid_focal_loss(logits.half(), torch.zeros(1, 1, 1, 2, dtype=torch.bool)).dtype == torch.float32


def test_bad_input():
    logits = torch.zeros(1, 2, 3, 3)
    for masks in (
        torch.zeros(1, 2, 3, 3),
        torch.zeros(1, 3, 3, dtype=torch.bool),
        torch.zeros(0, 2, 3, 3).bool(),
    ):
        with pytest.raises(ValueError, match="expected logits and bool masks"):
            sigmoid_focal_loss(logits[: len(masks)], masks)
