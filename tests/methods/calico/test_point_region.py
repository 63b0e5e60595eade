"""CALICO's two losses against their formulas, term by term."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lidardistill.methods.calico_prc.loss import (
    ViewPoints,
    both_point_contrasts,
    point_region_contrast,
    region_aware_point_contrast,
)

REGION = [5, 5, 9, 5, 2, 9, 0, 0]
MASK = [1, 1, 1, 1, 1, 1, 0, 0]


def points(region=REGION, mask=MASK, dim=6, seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    features = F.normalize(torch.randn(len(region), dim, generator=draw, dtype=dtype), dim=1)
    return ViewPoints(features, torch.tensor(region, dtype=torch.int64), torch.tensor(mask, dtype=torch.bool))


def slow_plrc(anchor, other, temperature, average):
    total, anchors = 0.0, 0
    for z, region, is_rich in zip(*anchor, strict=True):
        scores = [math.e ** ((z * z2).sum() / temperature) for z2 in other.features]
        denominator = sum(scores)
        shares = [
            score / denominator
            for score, r, m in zip(scores, other.region.tolist(), other.region_mask.tolist(), strict=True)
            if m and r == region.item()
        ]
        if not is_rich or not shares:
            continue
        anchors += 1
        if average == "outside":
            total = total - sum(torch.log(share) for share in shares) / len(shares)
        else:
            total = total - torch.log(sum(shares) / len(shares))
    return total / anchors


def slow_rapc(anchor, other, temperature, equal_regions):
    losses = {}
    for k, (z, region, is_rich) in enumerate(zip(*anchor, strict=True)):
        scores = [math.e ** ((z * z2).sum() / temperature) for z2 in other.features]
        if is_rich:
            losses.setdefault(region.item(), []).append(-torch.log(scores[k] / sum(scores)))
    if equal_regions:
        return sum(sum(found) / len(found) for found in losses.values()) / len(losses)
    flat = [loss for found in losses.values() for loss in found]
    return sum(flat) / len(flat)


def with_gradients(loss_of, anchor, other):
    a, b = (view.features.clone().requires_grad_() for view in (anchor, other))
    loss = loss_of(anchor._replace(features=a), other._replace(features=b))
    return loss.detach(), *torch.autograd.grad(loss, (a, b))


@pytest.mark.parametrize("average", ["outside", "inside"])
def test_plrc_is_the_formula(average):
    anchor = points()
    other = points([9, 5, 5, 7, 5, 5], [1, 1, 1, 1, 1, 0], seed=1)  # other points, other sizes; no region 2
    fast = with_gradients(lambda a, b: point_region_contrast(a, b, 0.3, average=average), anchor, other)
    slow = with_gradients(lambda a, b: slow_plrc(a, b, 0.3, average), anchor, other)
    for ours, theirs in zip(fast, slow, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("average", "equal_regions"), [("outside", True), ("inside", False)])
def test_both_at_once_are_each_alone(average, equal_regions):
    anchor, other = points(), points([5, 5, 9, 4, 3, 9, 0, 0], [1, 1, 1, 1, 0, 1, 0, 0], seed=1)
    both = lambda a, b: both_point_contrasts(a, b, 0.3, average=average, equal_regions=equal_regions)  # noqa: E731
    plrc = with_gradients(lambda a, b: both(a, b)[0], anchor, other)
    rapc = with_gradients(lambda a, b: both(a, b)[1], anchor, other)
    alone = with_gradients(lambda a, b: slow_plrc(a, b, 0.3, average), anchor, other)
    itself = with_gradients(lambda a, b: slow_rapc(a, b, 0.3, equal_regions), anchor, other)
    for ours, theirs in zip((*plrc, *rapc), (*alone, *itself), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("equal_regions", [True, False])
def test_rapc_is_the_formula(equal_regions):
    anchor, other = points(), points(seed=1)
    fast = with_gradients(
        lambda a, b: region_aware_point_contrast(a, b, 0.3, equal_regions=equal_regions), anchor, other
    )
    slow = with_gradients(lambda a, b: slow_rapc(a, b, 0.3, equal_regions), anchor, other)
    for ours, theirs in zip(fast, slow, strict=True):
        torch.testing.assert_close(ours, theirs)


LOSSES = {
    "plrc": lambda a, b: point_region_contrast(a, b, 0.3),
    "plrc inside": lambda a, b: point_region_contrast(a, b, 0.3, average="inside"),
    "rapc": lambda a, b: region_aware_point_contrast(a, b, 0.3),
    "rapc by point": lambda a, b: region_aware_point_contrast(a, b, 0.3, equal_regions=False),
}
EACH_LOSS = pytest.mark.parametrize("loss_of", LOSSES.values(), ids=LOSSES)


@EACH_LOSS
def test_gradcheck(loss_of):
    anchor, other = points(dim=3), points(dim=3, seed=1)

    def loss(a, b):
        return loss_of(anchor._replace(features=a), other._replace(features=b))

    inputs = [view.features.clone().requires_grad_() for view in (anchor, other)]
    assert torch.autograd.gradcheck(loss, inputs)


def test_of_regions_of_one_point_all_four_are_info_nce():
    anchor, other = points(list(range(6)), [1] * 6), points(list(range(6)), [1] * 6, seed=1)
    expected = F.cross_entropy(anchor.features @ other.features.T / 0.3, torch.arange(6))
    for loss_of in LOSSES.values():
        torch.testing.assert_close(loss_of(anchor, other), expected)


def test_semantic_less_points_are_negatives_only():
    """More of them raise the loss; which region they would be of, and their own match, do not matter."""
    anchor, other = points(), points(seed=1)
    rich = slice(0, 6)
    for loss_of in LOSSES.values():
        fewer = loss_of(ViewPoints(*(x[rich] for x in anchor)), ViewPoints(*(x[rich] for x in other)))
        assert loss_of(anchor, other) > fewer
        renamed = anchor.region.clone()
        renamed[6:] = 5
        assert loss_of(anchor._replace(region=renamed), other._replace(region=renamed)) == loss_of(
            anchor, other
        )
        moved = anchor.features.clone()
        moved[6:] = -moved[6:]
        assert loss_of(anchor._replace(features=moved), other) == loss_of(anchor, other)


def test_a_large_region_counts_as_one():
    """One region of 30 points that match, one of a single point that does not."""
    region = [0] * 30 + [1]
    draw = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(31, 64, generator=draw), dim=1)
    anchor = ViewPoints(features, torch.tensor(region), torch.ones(31, dtype=torch.bool))
    wrong = anchor._replace(features=torch.cat([features[:-1], -features[-1:]]))
    by_region = region_aware_point_contrast(anchor, wrong, 0.1)
    by_point = region_aware_point_contrast(anchor, wrong, 0.1, equal_regions=False)
    assert by_region > 5 * by_point


def test_a_region_drawn_together_is_what_plrc_asks_for():
    region, mask = [0] * 5 + [1] * 5, [1] * 10
    together = points(region, mask)
    place = F.one_hot(together.region, 6).double()
    same = together._replace(features=place)
    assert point_region_contrast(same, same, 0.07) < math.log(5) + 1e-4  # the best the mean outside can do
    assert point_region_contrast(same, same, 0.07, average="inside") < math.log(5) + 1e-4
    assert point_region_contrast(together, points(region, mask, seed=1), 0.07) > 2 * math.log(5)
    assert region_aware_point_contrast(same, same, 0.07) > math.log(5) - 1e-4  # which RAPC tells apart


@EACH_LOSS
@pytest.mark.parametrize(
    ("region", "mask"), [([], []), ([3], [0]), ([3, 3, 4], [0, 0, 0])], ids=["no points", "one", "no regions"]
)
def test_nothing_to_compare_is_a_zero_with_gradient(loss_of, region, mask):
    for found in with_gradients(loss_of, points(region, mask), points(region, mask, seed=1)):
        assert torch.equal(found, torch.zeros_like(found))


@EACH_LOSS
def test_one_point_finds_itself(loss_of):
    loss, *gradients = with_gradients(loss_of, points([3], [1]), points([3], [1], seed=1))
    assert loss.item() == 0.0
    assert all(torch.equal(g, torch.zeros_like(g)) for g in gradients)


@pytest.mark.parametrize("average", ["outside", "inside"])
def test_regions_of_one_view_only_are_no_anchors(average):
    anchor, other = points(), points([7, 7, 1], [1, 1, 1], seed=1)
    loss_of = lambda a, b: point_region_contrast(a, b, 0.3, average=average)  # noqa: E731
    for found in with_gradients(loss_of, anchor, other):
        assert torch.equal(found, torch.zeros_like(found))
    some = points([7, 5, 1], [1, 1, 1], seed=1)
    loss, *gradients = with_gradients(loss_of, anchor, some)
    assert loss > 0
    assert all(g.isfinite().all() for g in gradients)
    assert gradients[0][[2, 4, 5, 6, 7]].abs().max() == 0


@EACH_LOSS
def test_half_precision_is_compared_in_float32(loss_of):
    anchor, other = points(dtype=torch.float32), points(seed=1, dtype=torch.float32)
    exact = loss_of(anchor, other)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = loss_of(anchor, other)
    assert under_autocast.dtype == torch.float32
    assert torch.equal(exact, under_autocast)
    half = loss_of(*(view._replace(features=view.features.bfloat16()) for view in (anchor, other)))
    assert half.dtype == torch.float32


def test_errors():
    anchor, other = points(), points(seed=1)
    for loss_of in (point_region_contrast, region_aware_point_contrast):
        with pytest.raises(ValueError, match="temperature must be a finite number above 0, got 0"):
            loss_of(anchor, other, 0.0)
        with pytest.raises(ValueError, match=r"other: expected features .* got \(8, 6\), \(8,\) and \(7,\)"):
            loss_of(anchor, other._replace(region_mask=other.region_mask[:7]), 0.1)
        with pytest.raises(ValueError, match="one width, got 6 and 5"):
            loss_of(anchor, points(dim=5), 0.1)
    with pytest.raises(ValueError, match=r"rows of both views must match, got \(8, 6\) and \(1, 6\)"):
        region_aware_point_contrast(anchor, points([1], [1]), 0.1)
    with pytest.raises(ValueError, match="average must be outside or inside, got 'both'"):
        point_region_contrast(anchor, other, 0.1, average="both")
    nobody = anchor._replace(region_mask=torch.zeros_like(anchor.region_mask))
    for contrast in (point_region_contrast, both_point_contrasts):
        with pytest.raises(ValueError, match="average must be outside or inside, got 'both'"):
            contrast(nobody, other, 0.1, average="both")
