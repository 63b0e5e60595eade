"""The pictures of one keyframe, drawn from the arrays that `showcase.showcase` stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lidardistill.report.draw.cameras import (
    color_bar,
    cross,
    draw_borders,
    faded,
    heat,
    mosaic,
    resize,
    splat,
    stack,
    view_name,
    view_order,
)
from lidardistill.report.draw.clouds import (
    bev_panels,
    class_legend,
    marked,
    painted_classes,
    painted_errors,
    painted_rgb,
    painted_scalar,
)
from lidardistill.report.draw.pairs import depth_legend, depth_rgb, paint_points

POSITIONAL = 0.6
"""R2 of the colours on the position above which the reader is warned."""

_TEXT_PX = 26  # of pictures 1800 wide, which a page shows at half that


@dataclass(frozen=True)
class Scene:
    """One keyframe and the features of an arm for it.

    Attributes:
        arrays: as `showcase.showcase.write_showcase` describes them.
        points_ego: (N, 3) float64, ego frame: x forward, y left, z up, metres.
    """

    arrays: dict[str, np.ndarray]
    points_ego: np.ndarray

    @classmethod
    def read(cls, path: Path) -> Scene:
        """Read a showcase.

        Raises:
            ValueError: the file is no showcase, or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            matrix = arrays["lidar2ego"]
            xyz = arrays["points"][:, :3].astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
            missing = {"images", "pairing_images", "pca_points", "similarity_points"} - set(arrays)
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise ValueError(f"{path} cannot be read as a showcase: {error}") from error
        if missing:
            raise ValueError(f"{path} is no showcase: it lacks {', '.join(sorted(missing))}")
        return cls(arrays, xyz)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def text(self, name: str) -> str:
        return str(self.arrays[name]) if name in self.arrays else ""

    @property
    def channels(self) -> list[str]:
        return [str(channel) for channel in self["channels"]]

    @property
    def classes(self) -> list[str]:
        return [str(name) for name in self["classes"]]

    @property
    def is_labelled(self) -> bool:
        return "labels" in self.arrays

    @property
    def is_predicted(self) -> bool:
        return self.is_labelled and "predictions" in self.arrays

    @property
    def front_view(self) -> int:
        """The view in which details are shown: the front camera where there is one."""
        names = self.channels
        return names.index("CAM_FRONT") if "CAM_FRONT" in names else 0

    @property
    def query_view(self) -> int:
        """The view that shows the query point, the most central one where two do."""
        places = self._places(int(self["query"]))
        if len(places) == 0:
            return self.front_view
        width = self["images"].shape[2]
        return int(places[np.abs(places[:, 2] - width / 2).argmin(), 0])

    @property
    def query_class(self) -> str:
        """Class of the query point in words, empty where it is not known."""
        label = int(self["labels"][int(self["query"])]) if self.is_labelled else 0
        return self.classes[label].replace("_", " ") if label else ""

    @property
    def accuracy(self) -> float:
        """Share of the labelled points of this keyframe that are predicted right."""
        known = self["labels"] > 0
        return float((self["labels"] == self["predictions"])[known].mean()) if known.any() else float("nan")

    def is_positional(self) -> bool:
        """Whether a colour channel mostly follows the position."""
        return bool(np.max(self["position_r2"]) > POSITIONAL)

    def regions_picture(self) -> np.ndarray:
        """The front camera twice: its superpixels, and the points that fall on them."""
        view = self.front_view
        plain, dotted = self.camera(view, points=False), self.camera(view, points=True)
        shown = [resize(picture, 900) for picture in (plain, dotted)]
        names = ["superpixels", "superpixels and LiDAR points"] if "superpixels" in self.arrays else ["", ""]
        return mosaic(shown, names, columns=2, text_size=27)

    def pairs_picture(self) -> np.ndarray:
        """All cameras with superpixel borders and projected points."""
        order = view_order(self.channels)
        shown = [resize(self.camera(view, points=True), 600) for view in order]
        grid = mosaic(shown, [view_name(self.channels[view]) for view in order], text_size=_TEXT_PX)
        return stack([grid, depth_legend(grid.shape[1], _TEXT_PX)], gap=14)

    def features_picture(self) -> np.ndarray:
        """Front cameras: photographs, features of the teacher, and features of the LiDAR points in view."""
        columns = view_order(self.channels)[:3]
        photographs = [self["images"][view] for view in columns]
        teacher = [self["pca_images"][view] for view in columns]
        student = []
        for view in columns:
            canvas = np.full_like(self["images"][view].repeat(2, axis=0).repeat(2, axis=1), 22)
            rows, cols, mine = self._pairs_of(view, 2)
            colors = self["pca_points"][self["pairing_points"][mine]]
            paint_points(canvas, rows, cols, colors, 0.6 * self["depth"][mine].astype(np.float32))
            student.append(canvas)
        names = [
            *(view_name(self.channels[view]) for view in columns),
            *("teacher: image features" for _ in columns),
            *("student: LiDAR features" for _ in columns),
        ]
        shown = [resize(picture, 600) for picture in [*photographs, *teacher, *student]]
        return mosaic(shown, names, columns=len(columns), text_size=_TEXT_PX)

    def features_bev(self) -> np.ndarray:
        """The LiDAR's colours from above."""
        known = self["point_mask"] if "point_mask" in self.arrays else slice(None)
        paint = painted_rgb(self.points_ego[known], self["pca_points"][known], size=5)
        return bev_panels([("LiDAR points in the colours of their features", paint)])

    def similarity_cameras(self) -> np.ndarray:
        """Cameras in the colours of their similarity to the query point, which is marked."""
        values = self["similarity_images"].astype(np.float32)
        low, high = _range(values)
        query = int(self["query"])
        shown, names = [], []
        for view in view_order(self.channels):
            picture = resize(heat(self["images"][view], values[view], low, high), 600)
            for _, row, col in self._places(query, view):
                scale = picture.shape[1] / self["images"].shape[2]
                cross(picture, round((row + 0.5) * scale), round((col + 0.5) * scale), 15)
            shown.append(picture)
            names.append(view_name(self.channels[view]))
        grid = mosaic(shown, names, text_size=_TEXT_PX)
        ticks = [(low, f"{low:.2f}"), ((low + high) / 2, f"{(low + high) / 2:.2f}"), (high, f"{high:.2f}")]
        return stack(
            [grid, color_bar(grid.shape[1], low, high, ticks, "cosine similarity", size=_TEXT_PX)], gap=12
        )

    def similarity_bev(self) -> np.ndarray:
        """The scan from above in the colours of its similarity to the query point."""
        values = self["similarity_points"].astype(np.float32)
        low, high = _range(values)
        paint = marked(
            painted_scalar(self.points_ego, values, low, high), self.points_ego[int(self["query"])]
        )
        picture = bev_panels([("LiDAR points: similarity to the ringed one", paint)])
        ticks = [(low, f"{low:.2f}"), ((low + high) / 2, f"{(low + high) / 2:.2f}"), (high, f"{high:.2f}")]
        return stack([picture, color_bar(picture.shape[1], low, high, ticks, "cosine similarity", size=24)])

    def segmentation_bev(self) -> np.ndarray:
        """Labels and, where there are, predictions and errors, from above, with a legend."""
        labels = self["labels"]
        panels: list[tuple[str, Any]] = []
        shown = set(np.unique(labels).tolist())
        if self.is_predicted:
            predicted = np.where(labels > 0, self["predictions"], 0)
            shown |= set(np.unique(predicted).tolist())
            panels.append(
                ("predicted by the linear probe", painted_classes(self.points_ego, predicted, self.classes))
            )
        panels.append(("true labels", painted_classes(self.points_ego, labels, self.classes)))
        if self.is_predicted:
            title = f"wrong: {100 * (1 - self.accuracy):.0f} % of the labelled points"
            panels.append((title, painted_errors(self.points_ego, labels, self["predictions"])))
        picture = bev_panels(panels)
        return stack([class_legend(self.classes, sorted(shown - {0})), picture])

    def camera(self, view: int, *, points: bool) -> np.ndarray:
        """One camera with the borders of its superpixels and, if asked for, its points by depth."""
        width = 2 * self["images"].shape[2]
        picture = resize(faded(self["images"][view], 0.9, 0.95), width)
        if "superpixels" in self.arrays:
            labels = self["superpixels"][view].repeat(2, axis=0).repeat(2, axis=1)
            picture = draw_borders(picture, labels[: picture.shape[0]])
        if points:
            rows, cols, mine = self._pairs_of(view, 2)
            depth = self["depth"][mine].astype(np.float32)
            far_first = np.argsort(-depth, kind="stable")
            splat(picture, rows[far_first], cols[far_first], depth_rgb(depth)[far_first], 2)
        return picture

    def _pairs_of(self, view: int, scale: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows and columns of one view's pairs in an image enlarged by `scale`, and the mask of the pairs."""
        pairing = self["pairing_images"].astype(np.int64)
        mine = pairing[:, 0] == view
        return pairing[mine, 1] * scale + scale // 2, pairing[mine, 2] * scale + scale // 2, mine

    def _places(self, point: int, view: int | None = None) -> np.ndarray:
        """(n, 3) view, row, col of one point."""
        pairing = self["pairing_images"].astype(np.int64)[self["pairing_points"] == point]
        return pairing if view is None else pairing[pairing[:, 0] == view]


def _range(values: np.ndarray) -> tuple[float, float]:
    """Ends of a colour scale: what lies between the median and nearly the largest."""
    low, high = np.nanpercentile(values, (50, 99.7))
    return float(low), float(max(high, low + 1e-3))
