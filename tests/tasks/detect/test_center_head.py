"""CenterPoint's head: sizes as its configuration, and what each branch does."""

from __future__ import annotations

import pytest
import torch

from lidardistill.tasks.detect.center.head import BRANCHES, NUM_VALUES, TASKS, CenterHead


def test_sizes_are_centerpoints():
    """mmdet3d's CenterPoint has 8.94 M parameters with 7.27 M in front of the head, pillars 5.98 M with
    4.39 M.
    """
    assert sum(p.numel() for p in CenterHead(512).parameters()) == pytest.approx(8.94e6 - 7_271_120, abs=5e3)
    assert sum(p.numel() for p in CenterHead(384).parameters()) == pytest.approx(5.98e6 - 4_389_440, abs=5e3)
    assert sum(len(task) for task in TASKS) == len({name for task in TASKS for name in task}) == 10
    assert NUM_VALUES == 10


def test_shapes_and_first_scores():
    torch.manual_seed(0)
    head = CenterHead(8, width=6)
    maps = head(torch.randn(2, 8, 5, 7))
    assert [tuple(m.heatmap.shape) for m in maps] == [(2, len(task), 5, 7) for task in TASKS]
    assert {tuple(m.values.shape) for m in maps} == {(2, 10, 5, 7)}
    last = [task["heatmap"][-1].bias for task in head.tasks]
    assert all((bias == -2.19).all() for bias in last)


def test_values_come_in_the_order_of_the_branches():
    head = CenterHead(3, (1,), width=4)
    for number, name in enumerate(BRANCHES):
        torch.nn.init.zeros_(head.tasks[0][name][-1].weight)
        torch.nn.init.constant_(head.tasks[0][name][-1].bias, number)
    (maps,) = head(torch.randn(1, 3, 4, 4))
    assert maps.values[0, :, 2, 1].tolist() == [0, 0, 1, 2, 2, 2, 3, 3, 4, 4]


def test_every_parameter_learns():
    head = CenterHead(3, (1, 2), width=4)
    sum(m.heatmap.square().sum() + m.values.square().sum() for m in head(torch.randn(2, 3, 6, 6))).backward()
    assert not [name for name, p in head.named_parameters() if p.grad is None or p.grad.abs().max() == 0]


def test_bad_settings_are_named():
    for arguments in ((0, (1,)), (4, ()), (4, (1, 0))):
        with pytest.raises(ValueError, match="positive in_channels, num_classes and width"):
            CenterHead(*arguments)
