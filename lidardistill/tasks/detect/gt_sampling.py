"""Paste objects of other keyframes into a scan, so that every scan shows rare classes.

For LiDAR alone: a pasted object stands in no picture, and a network that looks at both would learn to
distrust its cameras. `DetectionRecipe` refuses the two together.
"""

from __future__ import annotations

import numpy as np

from lidardistill.geometry.boxes import boxes_overlap, points_in_boxes
from lidardistill.tasks.detect.config import GTSamplingConfig
from lidardistill.tasks.detect.gt_database import GTDatabase


class GTSampler:
    """Pastes objects where there is room for them.

    Args:
        database: objects of labelled keyframes.
        config: how many objects of each class a scan is filled up to.

    Source: SECOND (Yan et al., Sensors 2018) section 3.2.2, with the numbers of CenterPoint's configuration.
    """

    def __init__(self, database: GTDatabase, config: GTSamplingConfig) -> None:
        self.database = database
        self.config = config
        self._of_class = [np.flatnonzero(database.labels == label) for label in range(len(config.counts))]

    def paste(
        self,
        points: np.ndarray,
        boxes: np.ndarray,
        labels: np.ndarray,
        generator: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fill a scan up with objects.

        Objects come one by one, class by class, to the place where they stood in their own scan. One that
        would share ground with a box of the scan, or with one that came before it, is left out and not
        replaced. The scan's own
        points inside the pasted boxes go: a solid object would have hidden them or stood in their place.

        Args:
            points: (N, 5) float32, LiDAR frame before augmentation, with as many sweeps as the database's.
            boxes: (n, 9) float32, same frame.
            labels: (n,) int64.
            generator: where the objects are drawn from.

        Returns:
            points (N', 5), the scan's own first; boxes (n', 9) and labels (n',), the scan's own first.

        Raises:
            ValueError: points without a time lag.
        """
        if points.ndim != 2 or points.shape[1] != 5:
            raise ValueError(f"points: expected (N, 5) with seconds before the keyframe, got {points.shape}")
        chosen = self._choose(boxes, labels, generator)
        if not chosen:
            return points, boxes, labels
        pasted = self.database.boxes[chosen]
        hidden, _ = points_in_boxes(points, pasted)
        kept = np.ones(len(points), bool)
        kept[hidden] = False
        return (
            np.concatenate([points[kept], *(self.database.points(entry) for entry in chosen)]),
            np.concatenate([boxes, pasted]),
            np.concatenate([labels, self.database.labels[chosen]]),
        )

    def warm_up(self) -> None:
        """Compile the kernels."""
        box = np.ones((1, 9), np.float32)
        boxes_overlap(box, box)
        points_in_boxes(box, box)

    def _choose(self, boxes: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> list[int]:
        """Entries of the database that find room."""
        present = np.bincount(labels, minlength=len(self.config.counts))
        occupied, chosen = boxes, []
        for label, (count, pool) in enumerate(zip(self.config.counts, self._of_class, strict=True)):
            wanted = min(count - int(present[label]), len(pool))
            if wanted <= 0:
                continue
            drawn = pool[generator.choice(len(pool), wanted, replace=False)]
            for entry in drawn.tolist():
                box = self.database.boxes[entry : entry + 1]
                if not boxes_overlap(box, occupied).any():
                    occupied = np.concatenate([occupied, box])
                    chosen.append(entry)
        return chosen
