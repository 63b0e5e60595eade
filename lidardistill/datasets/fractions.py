"""Few-label protocols: the scenes of a split that keep their labels."""

from __future__ import annotations

from collections.abc import Sequence

SKIP_OF_PERCENT: dict[int, int] = {1: 100, 5: 20, 10: 10, 20: 5, 25: 4, 50: 2, 100: 1}
"""Maps the label percentage to k: every k-th scene is kept."""


def label_fraction(
    scene_names: Sequence[str], percent: int, *, at_least_one: bool = False
) -> tuple[str, ...]:
    """Keep every k-th scene, counted from 1, as in the few-label protocols of SLidR and its successors.

    Args:
        scene_names: scenes of the training split, in database order.
        percent: 1, 5, 10, 20, 25, 50 or 100: every 100th, 20th, 10th, 5th, 4th, 2nd or every scene.
        at_least_one: if the split has fewer than k scenes, keep the last one instead of raising ValueError.

    Returns:
        Scene names in the same order, at least one (700 scenes give 7, 35, 70, 175, 700).

    Raises:
        ValueError: the percentage is not in the list, or no scene is left because the split is too small;
            the message lists valid percentages.
    """
    if percent not in SKIP_OF_PERCENT:
        raise ValueError(
            f"label percentage: expected one of {', '.join(map(str, SKIP_OF_PERCENT))}, got {percent}. They "
            "are the fractions of the published protocol (every 100th, 20th, 10th, 5th, 4th, 2nd, every "
            "scene)."
        )
    skip = SKIP_OF_PERCENT[percent]
    first = min(skip, len(scene_names)) if at_least_one else skip
    kept = tuple(scene_names[max(first - 1, 0) :: skip])
    if not kept:
        works = [str(p) for p, k in SKIP_OF_PERCENT.items() if len(scene_names) >= k]
        raise ValueError(
            f"{percent} % of the labels keeps every {skip}th scene, and the split has {len(scene_names)}: "
            f"nothing is left. Percentages that work here: {', '.join(works) or 'none, the split is empty'}."
        )
    return kept
