"""Robustness scores on corrupted scans: mCE, mRR, and success of attacks.

Source: Robo3D (Kong et al., ICCV 2023), section 4.3. An accuracy is mIoU or NDS, 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def corruption_error(model: Sequence[float], baseline: Sequence[float]) -> float:
    """CE of one corruption: the model's summed errors divided by the baseline's; 1 is as bad.

    Args:
        model: accuracies, one per severity.
        baseline: accuracies of the baseline on the same scans.

    Raises:
        ValueError: the lengths differ or are 0, or the baseline has no errors.
    """
    if len(model) != len(baseline) or not model:
        raise ValueError(
            f"corruption_error: expected as many severities of both, got {len(model)} and {len(baseline)}"
        )
    errors = sum(1.0 - accuracy for accuracy in baseline)
    if errors <= 0:
        raise ValueError(
            "corruption_error: the baseline makes no error, so there is nothing to measure against"
        )
    return sum(1.0 - accuracy for accuracy in model) / errors


def resilience_rate(model: Sequence[float], clean: float) -> float:
    """RR of one corruption: mean accuracy over severities, divided by the clean accuracy.

    Args:
        model: accuracies, one per severity.
        clean: accuracy without corruption.

    Raises:
        ValueError: no severity, or no clean accuracy to lose.
    """
    if not model or clean <= 0:
        raise ValueError(
            f"resilience_rate: expected severities and a clean accuracy above 0, got {len(model)} and {clean}"
        )
    return sum(model) / (len(model) * clean)


def summarize(
    model: Mapping[str, Sequence[float]],
    clean: float,
    baseline: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Any]:
    """CE and RR of each corruption and their means.

    Args:
        model: corruption to its accuracies, one per severity.
        clean: accuracy without corruption.
        baseline: the same for the baseline; None leaves CE out.

    Returns:
        rr: corruption to RR; mrr; with a baseline also ce and mce. The means are None without corruptions.

    Raises:
        ValueError: the baseline lacks a corruption.
    """
    rates = {name: resilience_rate(values, clean) for name, values in model.items()}
    summary: dict[str, Any] = {"rr": rates, "mrr": _mean(rates)}
    if baseline is not None:
        missing = [name for name in model if name not in baseline]
        if missing:
            raise ValueError(
                f"the baseline was not evaluated on {', '.join(missing)}; evaluate it on the same "
                "--corruption"
            )
        errors = {name: corruption_error(values, baseline[name]) for name, values in model.items()}
        summary |= {"ce": errors, "mce": _mean(errors)}
    return summary


def attack_succeeds(classes: np.ndarray, vehicle_classes: Sequence[int], share: float = 0.5) -> bool:
    """True if a segmentation predicts vehicle classes for enough fake points.

    Args:
        classes: (n,) predicted classes of the fake points of one scan.
        vehicle_classes: the classes that count as success.
        share: share of the points that must be predicted as a vehicle.

    Raises:
        ValueError: no fake points.
    """
    if len(classes) == 0:
        raise ValueError("attack_succeeds: expected at least one feigned point, got none")
    return bool(np.isin(classes, vehicle_classes).mean() >= share)


def detection_succeeds(
    centres: np.ndarray,
    scores: np.ndarray,
    fake_xy: np.ndarray,
    *,
    min_score: float = 0.3,
    near_m: float = 2.0,
) -> bool:
    """True if a detector finds a vehicle at the place of a fake vehicle.

    Args:
        centres: (n, 2) x, y of detected vehicles, LiDAR frame, metres.
        scores: (n,) 0..1.
        fake_xy: (2,) centre of the fake vehicle.
        min_score: detections below this score are ignored.
        near_m: nuScenes' matching distance.
    """
    away = np.hypot(*(np.asarray(centres, dtype=np.float64).reshape(-1, 2) - fake_xy).T)
    return bool(((away <= near_m) & (np.asarray(scores) >= min_score)).any())


def _mean(values: Mapping[str, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None
