"""All groups of CenterPoint at once: a loss that adds up, and maps that say the boxes give the boxes back."""

from __future__ import annotations

import math

import pytest
import torch

from lidardistill.ops.bev_grid import BevGrid
from lidardistill.tasks.detect.center.groups import NMS_RADII_M, center_loss, decode_groups
from lidardistill.tasks.detect.center.loss import box_l1_loss, gaussian_focal_loss
from lidardistill.tasks.detect.center.targets import draw_targets

GROUPS = (1, 2, 1)
GRID = BevGrid(-16.0, -8.0, 0.5, 32, 64)
CERTAIN = 12.0  # logit


def scene(seed, num=9):
    """(num, 9) boxes far from each other, and labels of all four classes."""
    rng = torch.Generator().manual_seed(seed)
    place = torch.randperm(8 * 4, generator=rng)[:num]
    xy = torch.stack([place % 8 * 4.0 - 14.0, place // 8 * 4.0 - 6.0], dim=1)
    boxes = torch.rand(num, 9, generator=rng)
    boxes[:, :2] = xy + 0.8 * boxes[:, :2]
    boxes[:, 3:6] += 0.4
    boxes[:, 6] = (boxes[:, 6] - 0.5) * 6.2
    boxes[:, 7:] -= 0.5
    return boxes, torch.arange(num) % sum(GROUPS)


def targets_of(boxes, labels, first, count):
    mine = (labels >= first) & (labels < first + count)
    return draw_targets(
        boxes[mine],
        labels[mine] - first,
        num_classes=count,
        bev_shape=(GRID.height, GRID.width),
        cell_size_m=(GRID.cell_size, GRID.cell_size),
        origin_m=(GRID.x_min, GRID.y_min),
    )


def perfect_maps(scenes):
    """What a head would say that knows the boxes."""
    maps, first = [], 0
    for count in GROUPS:
        targets = [targets_of(boxes, labels, first, count) for boxes, labels in scenes]
        heatmap = torch.stack([torch.where(t.heatmap == 1, CERTAIN, -CERTAIN) for t in targets])
        values = torch.zeros(len(scenes), 10, GRID.num_cells)
        for scan, target in enumerate(targets):
            values[scan, :, target.cell] = target.values.T
        maps.append((heatmap, values.unflatten(2, (GRID.height, GRID.width))))
        first += count
    return maps


def in_order(boxes, labels):
    order = sorted(range(len(labels)), key=lambda row: (labels[row].item(), *boxes[row, :2].tolist()))
    return boxes[order], labels[order]


def test_perfect_maps_decode_to_the_boxes():
    scenes = [scene(0), scene(1), (torch.zeros(0, 9), torch.zeros(0, dtype=torch.int64))]
    found = decode_groups(perfect_maps(scenes), num_classes=GROUPS, grid=GRID, radii_m=(1.0, 1.0, 1.0))
    assert [len(scan.boxes) for scan in found] == [9, 9, 0]
    for scan, (boxes, labels) in zip(found, scenes, strict=True):
        got, got_labels = in_order(scan.boxes, scan.labels)
        wanted, wanted_labels = in_order(boxes, labels)
        assert torch.equal(got_labels, wanted_labels)
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)
        assert torch.equal(scan.scores, scan.scores.sort(descending=True).values)


def test_perfect_maps_cost_nothing_and_others_do():
    scenes = [scene(0), scene(1)]
    boxes, labels = zip(*scenes, strict=True)
    maps = perfect_maps(scenes)
    loss = center_loss(maps, boxes, labels, num_classes=GROUPS, grid=GRID)
    assert loss.box == 0
    assert loss.num_boxes == 18
    assert loss.total < 1e-3
    shifted = [(heatmap.roll(3, 2), values + 1) for heatmap, values in maps]
    assert center_loss(shifted, boxes, labels, num_classes=GROUPS, grid=GRID).total > 10


def test_the_loss_is_the_sum_over_groups_by_a_loop():
    torch.manual_seed(0)
    scenes = [scene(2), scene(3)]
    maps = [
        (torch.randn(2, count, GRID.height, GRID.width), torch.randn(2, 10, GRID.height, GRID.width))
        for count in GROUPS
    ]
    wanted, first = 0.0, 0
    for (heatmap, values), count in zip(maps, GROUPS, strict=True):
        targets = [targets_of(*one, first, count) for one in scenes]
        wanted += gaussian_focal_loss(heatmap, torch.stack([t.heatmap for t in targets]))
        wanted += 0.25 * box_l1_loss(values, targets)
        first += count
    boxes, labels = zip(*scenes, strict=True)
    found = center_loss(maps, boxes, labels, num_classes=GROUPS, grid=GRID)
    torch.testing.assert_close(found.total, wanted)
    torch.testing.assert_close(found.heatmap + 0.25 * found.box, wanted)


def test_a_batch_without_boxes_has_a_finite_loss_and_gradient():
    maps = [
        (torch.zeros(1, count, GRID.height, GRID.width, requires_grad=True),
         torch.zeros(1, 10, GRID.height, GRID.width, requires_grad=True))
        for count in GROUPS
    ]  # fmt: skip
    nothing = [torch.zeros(0, 9)], [torch.zeros(0, dtype=torch.int64)]
    loss = center_loss(maps, *nothing, num_classes=GROUPS, grid=GRID)
    loss.total.backward()
    assert loss.num_boxes == 0
    assert loss.total.isfinite()
    assert all(heatmap.grad.isfinite().all() and heatmap.grad.abs().max() > 0 for heatmap, _ in maps)


def test_of_two_near_boxes_of_a_group_the_better_stays():
    maps = perfect_maps([(torch.zeros(0, 9), torch.zeros(0, dtype=torch.int64))])
    for group, row, column, logit in ((1, 10, 10, 2.0), (1, 10, 12, 3.0), (2, 10, 11, 1.0)):
        maps[group][0][0, -1, row, column] = logit
    for radius, kept in ((0.9, [2, 2, 3]), (1.0, [2, 3])):  # two cells of half a metre apart
        (scan,) = decode_groups(maps, num_classes=GROUPS, grid=GRID, radii_m=(radius,) * 3)
        assert scan.labels.tolist() == kept
        assert scan.scores.tolist()[0] == pytest.approx(1 / (1 + math.exp(-3)))


def test_radii_of_centerpoint():
    assert [round(radius**2, 6) for radius in NMS_RADII_M] == [4, 12, 10, 1, 0.85, 0.175]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": (1, 1, 2)}, r"heatmaps of \[1, 1, 2\] classes, got \[1, 2, 1\]"),
        ({"labels": [torch.tensor([4])]}, r"labels must lie in 0\.\.3, got 4\.\.4"),
        ({"boxes": []}, r"boxes and labels of 1 scans, got 0 and 1"),
    ],
)
def test_bad_input_of_the_loss(change, message):
    boxes, _ = scene(0, 1)
    maps = perfect_maps([(torch.zeros(0, 9), torch.zeros(0, dtype=torch.int64))])
    arguments = {"boxes": [boxes], "labels": [torch.tensor([0])], "num_classes": GROUPS, "grid": GRID}
    with pytest.raises(ValueError, match=message):
        center_loss(maps, **{**arguments, **change})


def test_a_radius_for_each_group():
    maps = perfect_maps([(torch.zeros(0, 9), torch.zeros(0, dtype=torch.int64))])
    with pytest.raises(ValueError, match="one radius for each of 3 groups, got 6"):
        decode_groups(maps, num_classes=GROUPS, grid=GRID)
