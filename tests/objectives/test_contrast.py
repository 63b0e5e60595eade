import logging
import math

import pytest
import torch

from lidardistill.objectives import contrast, info_nce


def rows(count, dim=8, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=dtype)


def slow_info_nce(anchor, positive, temperature):
    """The formula, row by row."""
    total = 0.0
    for k in range(len(anchor)):
        scores = torch.stack([(anchor[k] * other).sum() / temperature for other in positive])
        total = total - torch.log(scores[k].exp() / scores.exp().sum())
    return total / len(anchor)


def test_the_formula_row_by_row():
    anchor, positive = rows(6, dtype=torch.float64), rows(6, seed=1, dtype=torch.float64)
    torch.testing.assert_close(info_nce(anchor, positive, 0.5), slow_info_nce(anchor, positive, 0.5))


def test_analytic_values():
    same = torch.ones(10, 4)
    assert info_nce(same, same, 0.07).item() == pytest.approx(math.log(10), abs=1e-5)
    unit = torch.eye(5)
    expected = math.log(1 + 4 * math.exp(-1 / 0.07))
    assert info_nce(unit, unit, 0.07).item() == pytest.approx(expected, abs=1e-6)
    assert info_nce(unit, unit.roll(1, 0), 0.07).item() == pytest.approx(1 / 0.07, abs=1e-3)
    assert info_nce(unit[:1], unit[:1], 0.07).item() == 0.0


def test_rows_are_not_normalised_again():
    unit = torch.eye(3)
    assert info_nce(0.5 * unit, unit, 0.1).item() == pytest.approx(math.log(1 + 2 * math.exp(-5)), abs=1e-6)


def test_gradcheck_with_candidates_and_symmetric():
    anchor = rows(4, 3, 0, torch.float64).requires_grad_()
    positive = rows(4, 3, 1, torch.float64).requires_grad_()
    extra = rows(2, 3, 2, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, p: info_nce(a, p, 0.3, symmetric=True), (anchor, positive))
    assert torch.autograd.gradcheck(
        lambda a, p, e: info_nce(a, p, 0.3, candidates=torch.cat([e, p]), candidate_offset=2),
        (anchor, positive, extra),
    )


def test_more_candidates_are_more_negatives_and_the_offset_finds_the_positives():
    anchor, positive, other = rows(4), rows(4, seed=1), rows(3, seed=2)
    joined = info_nce(torch.cat([other, anchor]), torch.cat([other, positive]), 0.2)
    parts = info_nce(other, other, 0.2, candidates=torch.cat([other, positive])) * 3 + 4 * info_nce(
        anchor, positive, 0.2, candidates=torch.cat([other, positive]), candidate_offset=3
    )
    torch.testing.assert_close(joined, parts / 7)


def test_symmetric_is_the_mean_of_both_directions():
    anchor, positive = rows(5), rows(5, seed=1)
    both = (info_nce(anchor, positive, 0.2) + info_nce(positive, anchor, 0.2)) / 2
    torch.testing.assert_close(info_nce(anchor, positive, 0.2, symmetric=True), both)
    torch.testing.assert_close(
        info_nce(anchor, positive, 0.2, symmetric=True, candidates=positive, anchor_candidates=anchor), both
    )


def test_no_rows_give_a_zero_with_gradients_and_one_line_in_the_log(caplog):
    contrast._say_empty_once.cache_clear()
    anchor, positive = torch.zeros(0, 8, requires_grad=True), torch.zeros(0, 8, requires_grad=True)
    candidates = rows(3).requires_grad_()
    with caplog.at_level(logging.WARNING):
        loss = info_nce(anchor, positive, 0.07)
        loss = loss + info_nce(anchor, positive, 0.07, candidates=candidates, candidate_offset=2)
    loss.backward()
    assert loss.item() == 0.0
    assert anchor.grad.shape == positive.grad.shape == (0, 8)
    assert torch.equal(candidates.grad, torch.zeros(3, 8))
    assert len(caplog.records) == 1


def test_half_precision_inputs_are_compared_in_float32():
    anchor, positive = rows(6).bfloat16(), rows(6, seed=1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = info_nce(anchor, positive, 0.07)
    assert loss.dtype == torch.float32
    assert loss.item() == info_nce(anchor.float(), positive.float(), 0.07).item()


@pytest.mark.parametrize("temperature", [0, -0.1, float("nan"), float("inf")])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="temperature"):
        info_nce(rows(2), rows(2), temperature)


def test_rows_that_do_not_match():
    with pytest.raises(ValueError, match="matching rows"):
        info_nce(rows(2), rows(3), 0.1)
    with pytest.raises(ValueError, match="candidates must be"):
        info_nce(rows(2), rows(2), 0.1, candidates=rows(4, 7))
    for offset in (-1, 3):
        with pytest.raises(ValueError, match="candidate_offset"):
            info_nce(rows(2), rows(2), 0.1, candidates=rows(4), candidate_offset=offset)
    with pytest.raises(ValueError, match="anchor_candidates"):
        info_nce(rows(2), rows(2), 0.1, candidates=rows(4), symmetric=True)
