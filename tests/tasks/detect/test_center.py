"""CenterPoint's targets, losses and decoding, each against a loop that says the same slowly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lidardistill.objectives.heatmap import gaussian_radius
from lidardistill.tasks.detect.center.decode import circle_nms, decode
from lidardistill.tasks.detect.center.loss import VALUE_WEIGHTS, box_l1_loss, gaussian_focal_loss
from lidardistill.tasks.detect.center.targets import draw_targets

SHAPE, CELL, ORIGIN = (24, 32), (0.8, 0.5), (-12.8, -6.0)
GRID = {"bev_shape": SHAPE, "cell_size_m": CELL, "origin_m": ORIGIN}


def random_boxes(seed, num=12):
    """(N, 9) float64 boxes, most of them on the map, and labels of three classes."""
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(0, 1, (num, 9)) * [28, 14, 2, 8, 3, 2, 6, 4, 4] + [
        -14,
        -7,
        -2,
        0.3,
        0.3,
        0.5,
        -3,
        -2,
        -2,
    ]
    return torch.from_numpy(boxes), torch.from_numpy(rng.integers(0, 3, num))


def radius_by_formula(length, width, o):
    """Roots written out as in CornerNet's appendix, denominators as in its code."""
    r1 = (length + width + math.sqrt((length + width) ** 2 - 4 * length * width * (1 - o) / (1 + o))) / 2
    b = 2 * (length + width)
    r2 = (b + math.sqrt(b * b - 16 * (1 - o) * length * width)) / 2
    b = -2 * o * (length + width)
    r3 = (b + math.sqrt(b * b - 16 * o * (o - 1) * length * width)) / 2
    return min(r1, r2, r3)


def test_radius_by_formula():
    sizes = torch.tensor([[5.0, 2.0], [1.0, 1.0], [20.0, 4.0], [3.0, 9.0]], dtype=torch.float64)
    for overlap in (0.1, 0.5, 0.7):
        found = gaussian_radius(sizes[:, 0], sizes[:, 1], overlap)
        wanted = [radius_by_formula(a, b, overlap) for a, b in sizes.tolist()]
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12)


def targets_by_loop(boxes, labels, num_classes, min_radius=2):
    height, width = SHAPE
    heatmap, cells, values = np.zeros((num_classes, height, width)), [], []
    for (x, y, z, length, wide, tall, yaw, vx, vy), label in zip(
        boxes.tolist(), labels.tolist(), strict=True
    ):
        u, v = (x - ORIGIN[0]) / CELL[0], (y - ORIGIN[1]) / CELL[1]
        col, row = math.floor(u), math.floor(v)
        if not (0 <= col < width and 0 <= row < height) or min(length, wide, tall) <= 0:
            continue
        radius = max(min_radius, int(radius_by_formula(length / CELL[0], wide / CELL[1], 0.1)))
        sigma = (2 * radius + 1) / 6
        for r in range(max(0, row - radius), min(height, row + radius + 1)):
            for c in range(max(0, col - radius), min(width, col + radius + 1)):
                value = math.exp(-((r - row) ** 2 + (c - col) ** 2) / (2 * sigma**2))
                heatmap[label, r, c] = max(heatmap[label, r, c], value)
        cells.append(row * width + col)
        logs = [math.log(side) for side in (length, wide, tall)]
        values.append([u - col, v - row, z, *logs, math.sin(yaw), math.cos(yaw), vx, vy])
    return heatmap, cells, values


@pytest.mark.parametrize("seed", range(5))
def test_targets_equal_a_loop(seed):
    boxes, labels = random_boxes(seed)
    boxes[3, 4] = 0.0
    found = draw_targets(boxes, labels, num_classes=3, **GRID)
    heatmap, cells, values = targets_by_loop(boxes, labels, 3)
    np.testing.assert_allclose(found.heatmap.numpy(), heatmap, atol=1e-6)
    assert found.cell.tolist() == cells
    assert 4 < len(cells) < 12, "some are off the map"
    np.testing.assert_allclose(found.values.numpy(), values, rtol=1e-5, atol=1e-6)
    assert found.value_mask.all()
    assert (found.heatmap == 1).sum() == len(
        {(c, int(k)) for c, k in zip(cells, labels[_on_map(boxes)], strict=True)}
    )


def _on_map(boxes):
    high = torch.tensor([ORIGIN[0] + SHAPE[1] * CELL[0], ORIGIN[1] + SHAPE[0] * CELL[1]])
    inside = (boxes[:, :2] >= torch.tensor(ORIGIN)) & (boxes[:, :2] < high)
    return inside.all(1) & (boxes[:, 3:6] > 0).all(1)


def test_an_unknown_velocity_is_masked_and_no_box_is_no_trouble():
    boxes, labels = random_boxes(0)
    boxes[:, 7:] = torch.nan
    found = draw_targets(boxes, labels, num_classes=3, **GRID)
    assert found.value_mask[:, :8].all()
    assert not found.value_mask[:, 8:].any()
    assert found.values.isfinite().all()
    nothing = draw_targets(boxes[:0], labels[:0], num_classes=3, **GRID)
    assert not nothing.heatmap.any()
    assert nothing.values.shape == nothing.value_mask.shape == (0, 10)


def test_bad_targets_are_named():
    boxes, labels = random_boxes(0)
    with pytest.raises(ValueError, match=r"expected boxes \(N, 9\)"):
        draw_targets(boxes[:, :7], labels, num_classes=3, **GRID)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1"):
        draw_targets(boxes, labels, num_classes=2, **GRID)


def heatmaps(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 3, *SHAPE, dtype=torch.float64, generator=generator)
    targets = [draw_targets(*random_boxes(seed + i), num_classes=3, **GRID) for i in (0, 1)]
    return logits.requires_grad_(), targets


def test_focal_loss_equals_a_loop_with_its_gradient():
    logits, targets = heatmaps()
    target = torch.stack([t.heatmap for t in targets]).double()
    wanted, count = logits.new_zeros(()), 0
    for logit, t in zip(logits.flatten(), target.flatten().tolist(), strict=True):
        p = torch.sigmoid(logit)
        if t == 1:
            wanted, count = wanted - (1 - p) ** 2 * torch.log(p), count + 1
        else:
            wanted = wanted - p**2 * (1 - t) ** 4 * torch.log(1 - p)
    found = gaussian_focal_loss(logits, target)
    torch.testing.assert_close(found, wanted / count)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (found, wanted / count)))


def test_focal_loss_of_extreme_logits_and_of_no_centre():
    logits = torch.tensor([[[[200.0, -200.0]]]], requires_grad=True)
    for target in ([[[[1.0, 0.0]]]], [[[[0.0, 1.0]]]], [[[[0.0, 0.0]]]]):
        loss = gaussian_focal_loss(logits, torch.tensor(target))
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite()
        assert gradient.isfinite().all()
    assert gaussian_focal_loss(logits, torch.tensor([[[[1.0, 0.0]]]])) == 0
    with pytest.raises(ValueError, match="differ in shape"):
        gaussian_focal_loss(logits, torch.zeros(1, 1, 2, 2))


def test_box_loss_equals_a_loop_with_its_gradient():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 10, *SHAPE, dtype=torch.float64, generator=generator).requires_grad_()
    _, targets = heatmaps()
    shared = targets[0]._replace(cell=targets[0].cell.clone())
    shared.cell[1] = shared.cell[0]
    shared.value_mask[2, 8:] = False
    targets = [shared, targets[1]]
    wanted, count = values.new_zeros(()), 0
    for scan, target in enumerate(targets):
        for cell, box, known in zip(target.cell.tolist(), target.values, target.value_mask, strict=True):
            row, col = divmod(cell, SHAPE[1])
            count += 1
            for k in range(10):
                if known[k]:
                    wanted = wanted + VALUE_WEIGHTS[k] * (values[scan, k, row, col] - box[k]).abs()
    found = box_l1_loss(values, targets)
    torch.testing.assert_close(found, wanted / count)
    torch.testing.assert_close(*(torch.autograd.grad(loss, values)[0] for loss in (found, wanted / count)))


def test_box_loss_of_no_boxes():
    empty = draw_targets(torch.zeros(0, 9), torch.zeros(0, dtype=torch.long), num_classes=1, **GRID)
    values = torch.randn(2, 10, *SHAPE, requires_grad=True)
    loss = box_l1_loss(values, [empty, empty])
    loss.backward()
    assert loss == 0
    assert not values.grad.any()
    with pytest.raises(ValueError, match="targets of 2 scans, got 1"):
        box_l1_loss(values, [empty])


@pytest.mark.parametrize("seed", range(3))
def test_what_was_drawn_is_decoded(seed):
    """The targets as predictions give back the boxes, which lie further apart than the radius."""
    boxes, labels = random_boxes(seed)
    boxes = boxes[_on_map(boxes)]
    far = circle_nms(boxes[:, :2].numpy(), 2.0)
    boxes, labels = boxes[far], labels[: len(far)]
    targets = draw_targets(boxes, labels, num_classes=3, **GRID)
    values = torch.zeros(1, 10, *SHAPE)
    values[0].flatten(1)[:, targets.cell] = targets.values.T
    peaks = torch.where(targets.heatmap == 1, 4.0, -9.0)[None]
    (found,) = decode(peaks, values, cell_size_m=CELL, origin_m=ORIGIN, radius_m=1.0)
    assert len(found.boxes) == len(boxes)
    place = torch.cdist(found.boxes[:, :2].double(), boxes[:, :2]).argmin(1)
    wanted = boxes[place].clone()
    wanted[:, 6] = torch.atan2(wanted[:, 6].sin(), wanted[:, 6].cos())
    torch.testing.assert_close(found.boxes.double(), wanted, rtol=1e-4, atol=1e-4)
    assert found.labels.tolist() == labels[place].tolist()
    assert found.scores.tolist() == pytest.approx([1 / (1 + math.exp(-4))] * len(boxes))


def test_scores_decide_what_is_decoded():
    heatmap = torch.full((2, 2, 4, 5), -9.0)
    heatmap[0, 1, 2, 3], heatmap[0, 0, 2, 4], heatmap[0, 0, 0, 0], heatmap[0, 1, 0, 1] = 2.0, 1.0, 0.0, -2.3
    arguments = {"cell_size_m": (1.0, 1.0), "origin_m": (-2.0, 1.0)}
    values = torch.zeros(2, 10, 4, 5)
    one, two = decode(heatmap, values, radius_m=0.5, **arguments)
    assert one.boxes[:, :2].tolist() == [[1.0, 3.0], [2.0, 3.0], [-2.0, 1.0]]
    assert one.labels.tolist() == [1, 0, 0]
    assert one.scores.tolist() == sorted(one.scores.tolist(), reverse=True)
    assert two.boxes.shape == (0, 9)
    near, _ = decode(heatmap, values, radius_m=1.0, **arguments)
    assert near.labels.tolist() == [1, 0], "of neighbours the better stays, whatever its class"
    few, _ = decode(heatmap, values, radius_m=1.0, max_candidates=2, **arguments)
    assert few.labels.tolist() == [1]
    few, _ = decode(heatmap, values, radius_m=0.5, max_boxes=2, score_threshold=0.05, **arguments)
    assert few.labels.tolist() == [1, 0]


@pytest.mark.parametrize("seed", range(4))
def test_circle_nms_equals_a_loop(seed):
    centres = np.random.default_rng(seed).uniform(0, 10, (80, 2)).astype(np.float32)
    kept = []
    for i, (x, y) in enumerate(centres.astype(np.float64).tolist()):
        if all((x - a) ** 2 + (y - b) ** 2 > 1.5**2 for a, b in centres[kept].astype(np.float64).tolist()):
            kept.append(i)
    assert circle_nms(centres, 1.5).tolist() == kept
    assert 10 < len(kept) < 60
    assert circle_nms(np.array([[0.0, 0.0], [2.0, 0.0]]), 2.0).tolist() == [0], (
        "the distance itself suppresses"
    )
    assert len(circle_nms(np.empty((0, 2)), 1.0)) == 0
