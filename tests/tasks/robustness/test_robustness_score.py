"""mCE, mRR and attacks against published tables and figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lidardistill.tasks.robustness.score import (
    attack_succeeds,
    corruption_error,
    detection_succeeds,
    resilience_rate,
    summarize,
)

# Robo3D's tables of SemanticKITTI-C, mIoU in percent: light, moderate, heavy.
MINKUNET = {"fog": (61.71, 58.32, 47.59), "crosstalk": (59.87, 58.47, 56.68)}
FIDNET = {"fog": (45.49, 44.98, 40.51), "crosstalk": (51.77, 49.43, 47.18)}


def shares(table):
    return {name: [value / 100 for value in values] for name, values in table.items()}


def test_the_published_figures_come_out():
    found = summarize(shares(FIDNET), 0.5880, shares(MINKUNET))
    assert 100 * found["ce"]["fog"] == pytest.approx(127.67, abs=0.02)
    assert 100 * found["ce"]["crosstalk"] == pytest.approx(121.32, abs=0.02)
    assert 100 * found["rr"]["fog"] == pytest.approx(74.25, abs=0.02)
    assert 100 * found["rr"]["crosstalk"] == pytest.approx(84.12, abs=0.02)
    assert found["mce"] == pytest.approx((found["ce"]["fog"] + found["ce"]["crosstalk"]) / 2)
    assert found["mrr"] == pytest.approx((found["rr"]["fog"] + found["rr"]["crosstalk"]) / 2)
    own = summarize(shares(MINKUNET), 0.6276, shares(MINKUNET))
    assert own["mce"] == pytest.approx(1.0)


def test_without_a_baseline_or_corruptions():
    assert summarize({"fog": [0.2, 0.4]}, 0.6) == {
        "rr": {"fog": pytest.approx(0.5)},
        "mrr": pytest.approx(0.5),
    }
    assert summarize({}, 0.6, {}) == {"rr": {}, "mrr": None, "ce": {}, "mce": None}


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match="as many severities of both, got 2 and 3"):
        corruption_error([0.1, 0.2], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="makes no error"):
        corruption_error([0.1], [1.0])
    with pytest.raises(ValueError, match="a clean accuracy above 0"):
        resilience_rate([0.1], 0.0)
    with pytest.raises(ValueError, match="baseline was not evaluated on snow"):
        summarize({"snow": [0.5]}, 0.6, {"fog": [0.5]})


def test_an_attack_on_a_segmentation():
    classes = np.array([4, 4, 10, 11])
    assert attack_succeeds(classes, [4, 10])
    assert not attack_succeeds(classes, [4], share=0.51)
    assert attack_succeeds(classes, [4], share=0.5)
    with pytest.raises(ValueError, match="at least one feigned point"):
        attack_succeeds(np.zeros(0, dtype=np.uint8), [4])


def test_an_attack_on_a_detector():
    fake = np.array([1.0, 8.0])
    centres, scores = np.array([[1.0, 9.9], [1.0, 10.1]]), np.array([0.31, 0.9])
    assert detection_succeeds(centres, scores, fake)
    assert not detection_succeeds(centres[1:], scores[1:], fake)
    assert not detection_succeeds(centres[:1], np.array([0.29]), fake)
    assert not detection_succeeds(np.zeros((0, 2)), np.zeros(0), fake)
