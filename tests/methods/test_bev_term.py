"""A method with a second loss on its student: the sum of both, and with weight 0 the method alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lidardistill.methods.bevcontrast.method import BEVContrast
from lidardistill.methods.both import BothBatch, Sum
from lidardistill.methods.slidr.method import SLidR
from tests.methods import test_bevcontrast as seen_from_above
from tests.methods import test_slidr as slidr

BATCH = BothBatch(
    sample_tokens=("a", "b"), first=slidr.make_batch(), second=seen_from_above.make_batch()
)


def build(weight: float, pairing: str = "real", **options: object) -> Sum:
    method = slidr.build(pairing=pairing)
    torch.manual_seed(1)
    term = BEVContrast(seen_from_above.config(**options), method.student)
    return Sum(method, term, weight, "bev_")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def student_gradients(loss: Tensor, method: Sum | SLidR) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(method.student.parameters()), retain_graph=True))


def test_losses_and_gradients_are_summed_by_weight() -> None:
    both = build(0.25)
    terms = both(BATCH, generator=generator(), diagnose=True)
    method = both.method(BATCH.first, generator=generator(), diagnose=True)
    term = both.term(BATCH.second, generator=generator(), diagnose=True)
    torch.testing.assert_close(terms.loss, method.loss + 0.25 * term.loss)
    for ours, a, b in zip(
        *(student_gradients(loss, both) for loss in (terms.loss, method.loss, term.loss)), strict=True
    ):
        torch.testing.assert_close(ours, a + 0.25 * b)
        assert a.abs().max() > 0
        assert b.abs().max() > 0
    for name in ("losses", "counts", "diagnostics"):
        found, mine, its = (getattr(t, name) for t in (terms, method, term))
        assert {k: float(v) for k, v in found.items()} == {
            **{k: float(v) for k, v in mine.items()},
            **{f"bev_{k}": float(v) for k, v in its.items()},
        }
    assert terms.num_matches == method.num_matches + term.num_matches
    terms.loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in both.parameters() if p.requires_grad)


def test_with_weight_0_a_step_is_the_methods() -> None:
    both, alone = build(0.0, "permuted"), slidr.build(pairing="permuted")
    ours_generator, theirs_generator = generator(), generator()
    ours = both(BATCH, generator=ours_generator, diagnose=True)
    theirs = alone(BATCH.first, generator=theirs_generator, diagnose=True)
    assert torch.equal(ours.loss, theirs.loss)
    assert ours.losses.keys() == theirs.losses.keys()
    assert ours.counts.keys() == theirs.counts.keys()
    assert torch.equal(ours_generator.get_state(), theirs_generator.get_state())
    for a, b in zip(student_gradients(ours.loss, both), student_gradients(theirs.loss, alone), strict=True):
        assert torch.equal(a, b)


def test_the_method_draws_before_the_term() -> None:
    """What the method does is the same with and without the term."""
    both = build(1.0, "permuted", max_cells=20)
    with_term = both(BATCH, generator=generator()).losses
    alone = both.method(BATCH.first, generator=generator()).losses
    assert all(torch.equal(with_term[name], value) for name, value in alone.items())


def test_one_student_is_trained_and_stored_once() -> None:
    both = build(0.5)
    names = [name for name, _ in both.named_parameters()]
    assert sum(name.endswith("student.linear.weight") for name in names) == 1
    assert "method.student.linear.weight" in names
    assert both.student is both.method.student is both.term.student
    assert both.teacher is both.method.teacher


def test_errors() -> None:
    both = build(0.5)
    with pytest.raises(ValueError, match="must share one student"):
        Sum(slidr.build(), both.term, 0.5, "bev_")
    with pytest.raises(ValueError, match="at least 0, got -1"):
        Sum(both.method, both.term, -1.0, "bev_")
