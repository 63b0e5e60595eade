"""GT sampling: pastes objects of other keyframes into a scan, so that every scan shows rare classes.

Only for LiDAR: images do not show a pasted object, so a fusion network would learn to distrust its cameras.
`DetectionRecipe` refuses GT sampling with cameras.
"""

from __future__ import annotations

import numpy as np

from lidardistill.geometry.boxes import boxes_overlap, points_in_boxes
from lidardistill.tasks.detect.config import GTSamplingConfig
from lidardistill.tasks.detect.gt_database import GTDatabase


class GTSampler:
    """Pastes objects of a database into free space of a scan.

    Args:
        database: objects of labelled keyframes.
        config: target number of objects of each class in a scan.

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

        The sampler pastes objects one by one, class by class, at the position that they had in their own
        scan. It skips an object that would overlap, seen from above, with a box of the scan or an object
        pasted before; it does not replace it. It removes the scan's own points inside the pasted boxes,
        because a solid object would hide or displace them.

        Args:
            points: (N, 5) float32, LiDAR frame before augmentation, with as many sweeps as the database's.
            boxes: (n, 9) float32, same frame.
            labels: (n,) int64.
            generator: random generator of the objects.

        Returns:
            points (N', 5), boxes (n', 9) and labels (n',), each with the scan's own first.

        Raises:
            ValueError: points without the time lag column.
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
        """Entries of the database that fit into free space."""
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
