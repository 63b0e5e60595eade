"""Pictures of one keyframe from above, drawn from the arrays of `showcase.bev_showcase`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lidardistill.report.draw.bev_maps import bev_maps_picture
from lidardistill.report.draw.clusters import clusters_picture
from lidardistill.report.draw.detections import detections_bev, detections_cameras

SHOWN_SCORE = 0.3
"""Detections below it are not drawn: the evaluator weighs them by their scores, a picture cannot."""


@dataclass(frozen=True)
class BevScene:
    """One keyframe and the output of a network for it.

    Attributes:
        arrays: as `showcase.bev_showcase.write_bev_showcase` describes them.
        points_ego: (N, 3) float64, ego frame: x forward, y left, z up, metres.
    """

    arrays: dict[str, np.ndarray]
    points_ego: np.ndarray

    @classmethod
    def read(cls, path: Path) -> BevScene:
        """Read a showcase.

        Raises:
            ValueError: the file is no such showcase, or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            matrix = arrays["lidar2ego"]
            xyz = arrays["points"][:, :3].astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
            missing = {"maps", "occupied", "grid", "parity_r2", "region", "images"} - set(arrays)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise ValueError(f"{path} cannot be read as a showcase of maps: {error}") from error
        if missing:
            raise ValueError(f"{path} is no showcase of maps: it lacks {', '.join(sorted(missing))}")
        return cls(arrays, xyz)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def text(self, name: str) -> str:
        return str(self.arrays[name])

    @property
    def is_detected(self) -> bool:
        return "boxes" in self.arrays

    @property
    def shown(self) -> np.ndarray:
        """(n,) bool: the detections that are drawn."""
        return self["scores"] >= SHOWN_SCORE

    @property
    def classes(self) -> list[str]:
        return [str(name) for name in self["classes"]]

    def detections_bev(self) -> np.ndarray:
        """Detections and true boxes from above."""
        found, true = int(self.shown.sum()), len(self["true_boxes"])
        title = f"{found} detections with a score of {SHOWN_SCORE:g} or more, {true} true boxes"
        return detections_bev(
            self.points_ego,
            self["lidar2ego"],
            self["boxes"][self.shown],
            self["labels"][self.shown],
            self.classes,
            self["true_boxes"],
            title,
        )

    def detections_cameras(self) -> np.ndarray:
        """The same boxes over the images."""
        return detections_cameras(
            self["images"],
            [str(channel) for channel in self["channels"]],
            self["lidar2cam"],
            self["cam2img"],
            self["boxes"][self.shown],
            self["labels"][self.shown],
            self.classes,
            self["true_boxes"],
        )

    def maps_picture(self) -> np.ndarray:
        """The scan and, beside it, the maps in the colours of their features."""
        named = [(str(name), colors) for name, colors in zip(self["map_names"], self["maps"], strict=True)]
        return bev_maps_picture(self.points_ego, named, self["occupied"], self._corners())

    def clusters_picture(self) -> np.ndarray:
        """The regions that proposals find without labels."""
        return clusters_picture(self.points_ego, self["region"], self["region_mask"], self["ground_mask"])

    def _corners(self) -> np.ndarray:
        """(H + 1, W + 1, 2) corners of the cells in the ego frame, on the road."""
        x_min, y_min, cell_size, height, width = self["grid"].tolist()
        x = x_min + cell_size * np.arange(int(width) + 1)
        y = y_min + cell_size * np.arange(int(height) + 1)
        matrix = self["lidar2ego"]
        at = np.stack([*np.meshgrid(x, y), np.full((len(y), len(x)), -matrix[2, 3])], axis=-1)
        return (at @ matrix[:3, :3].T + matrix[:3, 3])[..., :2]
