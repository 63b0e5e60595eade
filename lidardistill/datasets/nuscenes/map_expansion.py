"""nuScenes' map expansion: the polygons and lines of each layer of one place.

The devkit's NuScenesMap reads the same files; this reads them without its list of four cities, builds each geometry
once instead of at every look, and keeps the whole of a line that a patch cuts in two (NuScenesMap 1.2 fails on it with
shapely 2).
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import orjson

from lidardistill.packages import missing_package

POLYGON_LAYERS = (
    "drivable_area",
    "road_segment",
    "lane",
    "ped_crossing",
    "walkway",
    "stop_line",
    "carpark_area",
)
LINE_LAYERS = ("road_divider", "lane_divider")


class MapExpansion:
    """One place. Make it with `MapExpansion.open`.

    Attributes:
        layers: layer name to its geometries, an object array of shapely Polygons or LineStrings in the frame of the map
            (metres; nuScenes' global frame seen from above), in the order of the file.
    """

    def __init__(self, layers: dict[str, np.ndarray]) -> None:
        shapely = import_shapely()
        self.layers = layers
        self._trees = {name: shapely.STRtree(geometries) for name, geometries in layers.items()}

    @classmethod
    def open(cls, dataroot: Path | str, location: str) -> MapExpansion:
        """Read `maps/expansion/<location>.json`.

        Polygons that are not valid are left out, as NuScenesMap does when it makes masks, but for drivable areas,
        which it takes as they are and which are repaired here.

        Raises:
            ImportError: shapely is not installed.
            FileNotFoundError: no such file.
            ValueError: a file that is no map expansion of version 1.3 or later.
        """
        shapely = import_shapely()
        path = Path(dataroot) / "maps" / "expansion" / f"{location}.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"map expansion {path} is missing. Expected: maps/expansion/*.json in {dataroot}. Download the map "
                "expansion pack (v1.3) of nuScenes, or write a world with `lidardistill synth`."
            )
        content = orjson.loads(path.read_bytes())
        version = str(content.get("version", "1.0"))
        if version < "1.3":
            raise ValueError(
                f"{path}: expected version 1.3 of the map expansion or later, got {version}; download the latest"
            )
        place = {node["token"]: (node["x"], node["y"]) for node in content["node"]}

        def corners(tokens: list[str]) -> list[tuple[float, float]]:
            return [place[token] for token in tokens]

        polygons: dict[str, Any] = {}
        for record in content["polygon"]:
            holes = [corners(hole["node_tokens"]) for hole in record["holes"] if hole["node_tokens"]]
            polygons[record["token"]] = shapely.Polygon(corners(record["exterior_node_tokens"]), holes)
        lines = {
            record["token"]: shapely.LineString(corners(record["node_tokens"]))
            for record in content["line"]
            if record["node_tokens"]
        }
        layers: dict[str, np.ndarray] = {}
        for name in POLYGON_LAYERS:
            tokens = [t for r in content[name] for t in r.get("polygon_tokens", [r.get("polygon_token")])]
            pieces = _array([polygons[token] for token in tokens])
            valid = shapely.is_valid(pieces)
            layers[name] = shapely.make_valid(pieces) if name == "drivable_area" else pieces[valid]
        for name in LINE_LAYERS:
            layers[name] = _array(
                [lines[record["line_token"]] for record in content[name] if record["line_token"] in lines]
            )
        return cls(layers)

    def near(self, layer: str, outline: Any) -> np.ndarray:
        """Geometries of a layer whose bounds meet those of a shapely geometry, in the order of the file."""
        return self.layers[layer][np.sort(self._trees[layer].query(outline))]


def locations(dataroot: Path | str, version: str) -> dict[str, str]:
    """Scene name to the place of its drive, as the tables scene and log say.

    Raises:
        FileNotFoundError: a table is missing.
    """
    tables = {}
    for name in ("scene", "log"):
        path = Path(dataroot) / version / f"{name}.json"
        if not path.is_file():
            raise FileNotFoundError(f"table {path} is missing; it tells where a scene was recorded")
        tables[name] = orjson.loads(path.read_bytes())
    place_of = {row["token"]: row["location"] for row in tables["log"]}
    return {row["name"]: place_of[row["log_token"]] for row in tables["scene"]}


def import_shapely() -> ModuleType:
    """shapely, which nuscenes-devkit brings along."""
    try:
        import shapely
    except ImportError as error:
        # shapely and opencv come with the devkit.
        raise missing_package("nuscenes-devkit", "map segmentation", error) from error
    return shapely


def _array(geometries: list[Any]) -> np.ndarray:
    out = np.empty(len(geometries), dtype=object)
    out[:] = geometries
    return out
