"""Region-aware distillation against its formula, point by point."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lidardistill.methods.calico_rad.loss import centre_weights, region_distill
from lidardistill.tasks.detect.center.targets import draw_targets

REGION = torch.tensor([4, 4, 9, 0, 4, 9, 0, 0, 2, 0])
MASK = torch.tensor([1, 1, 1, 0, 1, 1, 0, 0, 1, 0]).bool()
WEIGHT = torch.tensor([0.5, 0.0, 1.0, 9.0, 0.25, 0.75, 9.0, 9.0, 0.1, 9.0], dtype=torch.float64)


def rows(seed: int, count: int = 10) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, 4, generator=draw, dtype=torch.float64), dim=1)


def loop(student, teacher, region, mask, temperature, denominator="all", weight=None):  # type: ignore[no-untyped-def]
    """The formula as it stands in the paper's text."""

    def log_share(i: int) -> Tensor:
        candidates = [k for k in range(len(teacher)) if denominator == "all" or mask[k]]
        total = sum(torch.exp(student[i] @ teacher[k] / temperature) for k in candidates)
        return torch.log(torch.exp(student[i] @ teacher[i] / temperature) / total)

    points = [i for i in range(len(student)) if mask[i]]
    if weight is not None:
        return -sum(weight[i] * log_share(i) for i in points) / sum(weight[i] for i in points)
    regions = {int(region[i]) for i in points}
    loss = 0.0
    for s in regions:
        members = [i for i in points if region[i] == s]
        loss = loss + sum(log_share(i) for i in members) / len(members)
    return -loss / len(regions)


@pytest.mark.parametrize("denominator", ["all", "rich"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["regions", "weights"])
def test_it_equals_the_formula_in_value_and_gradient(denominator: str, weight: Tensor | None) -> None:
    leaves = [rows(0).requires_grad_(), rows(1).requires_grad_()]
    ours = region_distill(*leaves, REGION, MASK, 0.2, denominator=denominator, weight=weight)
    theirs = loop(*leaves, REGION, MASK, 0.2, denominator, weight)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves), strict=True):
        torch.testing.assert_close(a, b)
    assert torch.autograd.gradcheck(
        lambda c, l: region_distill(c, l, REGION, MASK, 0.2, denominator=denominator, weight=weight),
        leaves,
    )


def test_the_ways_differ() -> None:
    found = {
        region_distill(rows(0), rows(1), REGION, MASK, 0.2, denominator=d, weight=w).item()
        for d in ("all", "rich")
        for w in (None, WEIGHT, torch.ones(10))
    }
    assert len(found) == 6


def test_a_large_region_counts_as_much_as_a_small_one() -> None:
    """Nineteen points that are found at once and one that is not: a half of the loss is the one's."""
    student = torch.cat([rows(0, 1).expand(19, -1), rows(3, 1)])
    teacher = student.clone()
    teacher[19] = -teacher[19]
    region = torch.tensor([0] * 19 + [1])
    mask = torch.ones(20, dtype=torch.bool)
    alone = [region_distill(student, teacher, region, mask & (region == s), 1.0).item() for s in (0, 1)]
    both = region_distill(student, teacher, region, mask, 1.0).item()
    assert both == pytest.approx(sum(alone) / 2)
    assert alone[1] > alone[0]


@pytest.mark.parametrize("case", ["no region", "no point", "no weight"])
def test_nothing_to_find_is_a_zero_with_gradient(case: str) -> None:
    count = 0 if case == "no point" else 10
    leaves = [rows(0, count).requires_grad_(), rows(1, count).requires_grad_()]
    mask = MASK[:count] if case == "no weight" else torch.zeros(count, dtype=torch.bool)
    weight = torch.zeros(10) if case == "no weight" else None
    loss = region_distill(*leaves, REGION[:count], mask, 0.1, weight=weight)
    loss.backward()
    assert loss.item() == 0.0
    assert all(leaf.grad is not None and not leaf.grad.any() for leaf in leaves)


def test_a_single_candidate_is_found() -> None:
    mask = torch.arange(10) == 3
    assert region_distill(rows(0), rows(1), REGION, mask, 0.1, denominator="rich").item() == 0.0


def test_half_precision_is_computed_in_float32() -> None:
    student, teacher = rows(0).bfloat16(), rows(1).bfloat16()
    loss = region_distill(student, teacher, REGION, MASK, 0.07)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(
        loss, region_distill(student.double(), teacher.double(), REGION, MASK, 0.07).float()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"teacher": rows(1, 9)}, "matching rows"),
        ({"region": REGION[:3]}, r"expected region, region_mask and weight of \(10,\)"),
        ({"weight": WEIGHT[:3]}, r"expected region, region_mask and weight of \(10,\)"),
        ({"denominator": "none"}, "denominator must be all or rich"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict, message: str) -> None:
    arguments = {
        "student": rows(0), "teacher": rows(1), "region": REGION, "region_mask": MASK,
        "temperature": 0.1, **change,
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        region_distill(**arguments)


def test_weights_are_centerpoints_heat_at_the_middles_of_cells() -> None:
    """A box of 9 x 6 m drawn by `draw_targets` on cells of half a metre, read where cells lie."""
    box = torch.tensor([[2.25, -3.75, 0, 9.0, 6.0, 2.0, 0, 0, 0]])
    heat = draw_targets(
        box, torch.zeros(1, dtype=torch.int64), num_classes=1, bev_shape=(40, 40), cell_size_m=(0.5, 0.5),
        origin_m=(-10.0, -10.0),
    ).heatmap[0]  # fmt: skip
    row, column = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    xy = torch.stack([column.flatten(), row.flatten()], 1) * 0.5 - 9.75
    everywhere = torch.ones(1600, dtype=torch.bool)
    found = centre_weights(xy, torch.zeros(1600, dtype=torch.int64), everywhere, box[:, :2], box[:, 3:5], 0.5)
    torch.testing.assert_close(found.view(40, 40), heat)
    assert 20 < int((found > 0).sum()) < 400


def test_weights_follow_their_own_region_and_the_mask() -> None:
    centre, size = torch.tensor([[0.0, 0.0], [10.0, 0.0]]), torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    xy = torch.tensor([[0.0, 0.0], [0.0, 0.0], [10.0, 1.0], [10.0, 1.0]])
    region, mask = torch.tensor([0, 1, 1, 77]), torch.tensor([True, True, True, False])
    found = centre_weights(xy, region, mask, centre, size, 1.0)
    sigma = (2 * 2 + 1) / 6
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0, math.exp(-1 / (2 * sigma**2)), 0.0]))
    nothing = centre_weights(xy, region, mask & False, centre[:0], size[:0], 1.0)
    assert nothing.tolist() == [0.0] * 4
