"""Bird's-eye-view masks of the map around a keyframe, in the LiDAR frame.

Source: BEVFusion (Liu et al., ICRA 2023), section 4.2, which uses nuscenes-devkit's
    NuScenesMap.get_map_mask.
Differs from it in: a polygon corner belongs to the cell around it. The devkit rounds it to the nearest lower
    corner of a cell, which shifts areas by half a cell relative to lines and to our other maps. Otherwise the
    masks equal the devkit's in every cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lidardistill.datasets.nuscenes.labels.map_expansion import (
    LINE_LAYERS,
    MapExpansion,
    import_shapely,
    locations,
)

CLASS_LAYERS: dict[str, tuple[str, ...]] = {
    "drivable_area": ("drivable_area",),
    "ped_crossing": ("ped_crossing",),
    "walkway": ("walkway",),
    "stop_line": ("stop_line",),
    "carpark_area": ("carpark_area",),
    "divider": ("road_divider", "lane_divider"),
}
"""BEVFusion's classes, in its order, and the map layers of each class."""

CLASSES: tuple[str, ...] = tuple(CLASS_LAYERS)
ON, OFF = (1,), (0,)
LINE_WIDTH = 2
"""Thickness of lines in cells, as in the devkit's calls of OpenCV."""


class MapMasks:
    """Masks for the keyframes of one nuScenes root. Picklable; reads the map of a location at first use.

    Args:
        dataroot: nuScenes root with the map expansion.
        version: such as v1.0-trainval.
        bev_range: (4,) x_min y_min x_max y_max of the masks, LiDAR frame, metres.
        cell_size: metres.
        classes: keys of `CLASS_LAYERS`, in the order of the masks.

    Raises:
        ValueError: a class is unknown, or the range is not a whole number of cells.
        FileNotFoundError: the tables with the locations of the scenes are missing.
    """

    def __init__(
        self,
        dataroot: Path | str,
        version: str,
        *,
        bev_range: Sequence[float] = (-50.0, -50.0, 50.0, 50.0),
        cell_size: float = 0.5,
        classes: Sequence[str] = CLASSES,
    ) -> None:
        unknown = [name for name in classes if name not in CLASS_LAYERS]
        if unknown or not classes:
            raise ValueError(
                f"map classes: expected some of {', '.join(CLASSES)}, got {', '.join(unknown) or 'none'}"
            )
        x_min, y_min, x_max, y_max = bev_range
        cells = ((y_max - y_min) / cell_size, (x_max - x_min) / cell_size)
        if not all(n > 0.5 and abs(n - round(n)) < 1e-4 for n in cells):
            raise ValueError(
                f"bev_range: expected a whole number of {cell_size} m cells, got {tuple(bev_range)}"
            )
        self.dataroot, self.version = Path(dataroot), version
        self.origin_m = (float(x_min), float(y_min))
        self.cell_size = cell_size
        self.shape = (round(cells[0]), round(cells[1]))
        self.classes = tuple(classes)
        self.location_of = locations(dataroot, version)
        self._maps: dict[str, MapExpansion] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}

    def open_maps(self, scene_names: Iterable[str]) -> None:
        """Read the maps of some scenes now: a missing map raises an error before training starts, and workers
        share the maps.

        Raises:
            ValueError: a scene does not exist.
            FileNotFoundError: the map of a location is missing.
        """
        for name in scene_names:
            self._map_of(name)

    def read(
        self, scene_name: str, lidar2global: np.ndarray, old2new: np.ndarray | None = None
    ) -> np.ndarray:
        """Draw the masks around one keyframe.

        Args:
            scene_name: scene of the keyframe; selects the map.
            lidar2global: (4, 4) float64 rigid; its tilt is ignored, and its yaw is the yaw of the x axis.
            old2new: (4, 4) float64 augmentation of the LiDAR frame: rotation about z, flips, scale and shift.

        Returns:
            (L, H = y, W = x) bool in the (augmented) LiDAR frame; row 0 has the smallest y.

        Raises:
            ValueError: the scene does not exist.
            FileNotFoundError: the map of its location is missing.
        """
        expansion = self._map_of(scene_name)
        global2cells = np.diag([1 / self.cell_size, 1 / self.cell_size, 1.0])
        global2cells[:2, 2] = -np.array(self.origin_m) / self.cell_size
        if old2new is not None:
            plane = np.eye(3)
            plane[:2, :2], plane[:2, 2] = old2new[:2, :2], old2new[:2, 3]
            global2cells = global2cells @ plane
        return draw_masks(expansion, global2cells @ global2lidar(lidar2global), self.shape, self.classes)

    def _map_of(self, scene_name: str) -> MapExpansion:
        if scene_name not in self.location_of:
            raise ValueError(f"{self.dataroot} ({self.version}) holds no scene {scene_name!r}")
        location = self.location_of[scene_name]
        if location not in self._maps:
            self._maps[location] = MapExpansion.open(self.dataroot, location)
        return self._maps[location]


def global2lidar(lidar2global: np.ndarray) -> np.ndarray:
    """(3, 3) float64 transform of homogeneous x, y, 1 from global to LiDAR frame; uses only yaw, x, y."""
    yaw = np.arctan2(lidar2global[1, 0], lidar2global[0, 0])
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    shift = np.eye(3)
    shift[:2, 2] = -lidar2global[:2, 3]
    return turn @ shift


def draw_masks(
    expansion: MapExpansion, global2cells: np.ndarray, shape: tuple[int, int], classes: Sequence[str]
) -> np.ndarray:
    """Draw the masks of some classes of a map.

    Args:
        expansion: the map.
        global2cells: (3, 3) float64 from global x, y to column, row; cell c spans [c, c + 1).
        shape: H, W.
        classes: keys of `CLASS_LAYERS`.

    Returns:
        (L, H, W) bool.
    """
    shapely = import_shapely()
    height, width = shape
    canvas = shapely.box(0, 0, width, height)
    cells2global = np.linalg.inv(global2cells)
    # The outline of the canvas in the global frame, for any rotation and scale.
    outline = _moved(shapely, canvas, cells2global)
    masks = np.zeros((len(classes), height, width), dtype=bool)
    for number, name in enumerate(classes):
        for layer in CLASS_LAYERS[name]:
            found = shapely.intersection(
                _moved(shapely, expansion.near(layer, outline), global2cells), canvas
            )
            draw = _draw_lines if layer in LINE_LAYERS else _draw_polygons
            masks[number] |= draw(shapely, found, shape)
    return masks


def _moved(shapely: Any, geometries: Any, motion: np.ndarray) -> Any:
    return shapely.transform(geometries, lambda xy: xy @ motion[:2, :2].T + motion[:2, 2])


def _corners(ring: Any) -> np.ndarray:
    """(n, 2) int32 column, row of the cells of the corners."""
    return np.floor(np.asarray(ring.coords)).astype(np.int32)


def _draw_polygons(shapely: Any, pieces: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Draw polygons one after another; a hole erases earlier polygons too, as in the devkit."""
    import cv2

    mask = np.zeros(shape, dtype=np.uint8)
    for piece in pieces:
        parts = [p for p in shapely.get_parts(piece) if p.geom_type == "Polygon" and not p.is_empty]
        if parts:
            cv2.fillPoly(mask, [_corners(part.exterior) for part in parts], ON)
            cv2.fillPoly(mask, [_corners(ring) for part in parts for ring in part.interiors], OFF)
    return mask.astype(bool)


def _draw_lines(shapely: Any, pieces: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    import cv2

    mask = np.zeros(shape, dtype=np.uint8)
    for part in shapely.get_parts(pieces):
        if part.geom_type == "LineString" and not part.is_empty:
            cv2.polylines(mask, [_corners(part)], False, ON, LINE_WIDTH)
    return mask.astype(bool)
