"""Lovász-softmax against the set function that it extends."""

from __future__ import annotations

import itertools

import pytest
import torch

from lidardistill.tasks.segment.lovasz import lovasz_softmax


def jaccard_loss(prediction: torch.Tensor, target: torch.Tensor) -> float:
    """Mean over the classes present of 1 - intersection / union, by counting."""
    losses = []
    for class_index in target.unique().tolist():
        p, t = prediction == class_index, target == class_index
        losses.append(1.0 - (p & t).sum().item() / (p | t).sum().item())
    return sum(losses) / len(losses)


def test_hard_predictions_give_the_jaccard_loss() -> None:
    target = torch.tensor([0, 1, 1, 2])
    for prediction in itertools.product(range(3), repeat=4):
        hard = torch.tensor(prediction)
        logits = torch.full((4, 3), -200.0)
        logits[torch.arange(4), hard] = 200.0
        assert lovasz_softmax(logits, target).item() == pytest.approx(jaccard_loss(hard, target), abs=1e-6)


def test_ignored_rows_take_no_part() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 1, 255, 2, 255, 0])
    kept = target != 255
    torch.testing.assert_close(lovasz_softmax(logits, target), lovasz_softmax(logits[kept], target[kept]))


def test_nothing_left_is_a_zero_with_gradient() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    loss = lovasz_softmax(logits, torch.full((3,), 255))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert torch.all(logits.grad == 0)


def test_gradient_points_down() -> None:
    logits = torch.zeros(8, 3, requires_grad=True)
    target = torch.arange(8) % 3
    before = lovasz_softmax(logits, target)
    before.backward()
    assert logits.grad is not None
    assert lovasz_softmax(logits.detach() - 0.1 * logits.grad, target) < before


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="targets"):
        lovasz_softmax(torch.zeros(3, 2), torch.zeros(4, dtype=torch.long))
