import math

import pytest
import torch

from lidardistill.objectives import contrast_diagnostics, is_collapsed
from lidardistill.objectives.diagnostics import effective_rank

NAMES = {
    "log_candidates",
    "match_top1",
    "alignment",
    "uniformity",
    "anchor_std",
    "positive_std",
    "effective_rank",
}


def test_orthogonal_rows_that_match():
    unit = torch.eye(16)
    found = contrast_diagnostics(unit, 3 * unit, 0.07)
    assert set(found) == NAMES
    assert all(value.ndim == 0 and value.dtype == torch.float32 for value in found.values())
    assert found["log_candidates"].item() == pytest.approx(math.log(16))
    assert found["match_top1"].item() == 1.0
    assert found["alignment"].item() == pytest.approx(0.0, abs=1e-6)
    assert found["uniformity"].item() == pytest.approx(-4.0, abs=1e-5)  # every distance squared is 2
    assert found["anchor_std"].item() == pytest.approx(math.sqrt(1 - 1 / 16), abs=1e-5)
    assert found["effective_rank"].item() == pytest.approx(16.0, abs=1e-3)
    assert is_collapsed(found) is None


def test_rows_that_match_another_row():
    unit = torch.eye(16)
    found = contrast_diagnostics(unit, unit.roll(1, 0), 0.07)
    assert found["match_top1"].item() == 0.0
    assert found["alignment"].item() == pytest.approx(2.0, abs=1e-5)


def test_one_direction_is_reported_as_collapse():
    generator = torch.Generator().manual_seed(0)
    anchor = torch.ones(50, 16) + 1e-3 * torch.randn(50, 16, generator=generator)
    positive = torch.randn(50, 16, generator=generator)
    found = contrast_diagnostics(anchor, positive, 0.07)
    assert found["uniformity"].item() == pytest.approx(0.0, abs=1e-3)
    assert found["effective_rank"].item() < 1.1
    message = is_collapsed(found)
    assert message is not None
    assert "collapsed" in message
    assert f"{math.log(50):.2f}" in message
    assert (
        is_collapsed(contrast_diagnostics(positive, anchor, 0.07)) is None
    )  # the teacher's is not our collapse


def test_effective_rank_is_the_exponential_of_the_entropy():
    matrix = torch.diag(torch.tensor([3.0, 1.0]))
    share = torch.tensor([0.75, 0.25])
    expected = torch.exp(-(share * share.log()).sum()).item()
    assert effective_rank(matrix).item() == pytest.approx(expected, rel=1e-5)
    wide = torch.zeros(2, 9)
    wide[:, :2] = matrix
    assert effective_rank(wide).item() == pytest.approx(expected, rel=1e-5)
    assert effective_rank(torch.zeros(4, 3)).item() == 0.0


def test_few_or_no_rows_are_values_not_nan():
    assert contrast_diagnostics(torch.zeros(0, 4), torch.zeros(0, 4), 0.1) == {}
    assert is_collapsed({}) is None
    one = contrast_diagnostics(torch.ones(1, 4), torch.ones(1, 4), 0.1)
    assert all(torch.isfinite(value) for value in one.values())
    assert is_collapsed(one) is None


def test_nothing_has_a_gradient_and_nan_does_not_raise():
    anchor = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert not any(v.requires_grad for v in contrast_diagnostics(anchor, anchor, 0.1).values())
    contrast_diagnostics(torch.full((9, 4), float("nan")), torch.ones(9, 4), 0.1)


def test_exceptions():
    with pytest.raises(ValueError, match="temperature"):
        contrast_diagnostics(torch.ones(2, 2), torch.ones(2, 2), 0.0)
    with pytest.raises(ValueError, match="matching rows"):
        contrast_diagnostics(torch.ones(2, 2), torch.ones(3, 2), 0.1)
