"""IoU of maps over thresholds against a loop over cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lidardistill.tasks.mapseg.score import THRESHOLDS, count_cells, map_scores

NAMES = ("drivable_area", "walkway", "divider")


def draw(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(3, 3, 6, 7, generator=generator) > 0.7
    probabilities = (0.4 * masks + 0.8 * torch.rand(3, 3, 6, 7, generator=generator)).clamp(max=1)
    return probabilities, masks


def slow(probabilities, masks):
    iou = np.zeros((len(NAMES), len(THRESHOLDS)))
    for k in range(len(NAMES)):
        for t, threshold in enumerate(THRESHOLDS):
            hit = either = 0
            for cell, there in zip(
                probabilities[:, k].flatten().tolist(), masks[:, k].flatten().tolist(), strict=True
            ):
                taken = cell >= threshold
                hit += taken and there
                either += taken or there
            iou[k, t] = hit / either
    return iou


def test_against_a_loop():
    probabilities, masks = draw()
    probabilities = probabilities.double()
    counts = count_cells(probabilities[:1], masks[:1]) + count_cells(probabilities[1:], masks[1:])
    assert counts.dtype == np.int64
    scores = map_scores(counts, NAMES)
    iou = slow(probabilities, masks)
    for number, name in enumerate(NAMES):
        assert scores["iou_by_threshold"][name] == pytest.approx(iou[number].tolist())
        assert scores["iou"][name] == pytest.approx(iou[number].max())
        assert scores["threshold"][name] == THRESHOLDS[int(iou[number].argmax())]
    assert scores["miou"] == pytest.approx(iou.max(axis=1).mean())
    assert len(set(scores["threshold"].values())) > 1  # classes have their own


def test_a_perfect_and_an_absent_class():
    masks = torch.zeros(1, 3, 2, 2, dtype=torch.bool)
    masks[0, 0, 0] = True
    masks[0, 1, 1, 1] = True
    probabilities = masks.float()
    probabilities[0, 1] = 0.0
    scores = map_scores(count_cells(probabilities, masks), NAMES)
    assert scores["iou"] == {"drivable_area": 1.0, "walkway": 0.0, "divider": None}
    assert scores["threshold"]["divider"] is None
    assert scores["miou"] == 0.5
    nothing = map_scores(count_cells(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2).bool()), NAMES)
    assert nothing["miou"] is None


def test_a_cell_at_the_threshold_counts():
    masks = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    hits, wrong, missed = count_cells(torch.full((1, 1, 1, 1), 0.5), masks, thresholds=(0.5, 0.51))
    assert (hits.tolist(), wrong.tolist(), missed.tolist()) == ([[1, 0]], [[0, 0]], [[0, 1]])


def test_bad_input():
    probabilities, masks = draw()
    for wrong in (masks.float(), masks[:2], masks[0]):
        with pytest.raises(ValueError, match="expected probabilities and bool masks"):
            count_cells(probabilities, wrong)
