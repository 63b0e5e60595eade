"""nuScenes' map expansion: the polygons and lines of each layer of one location.

The devkit's NuScenesMap reads the same files. Differences of this reader: it accepts locations outside the
devkit's list of four, builds each geometry only once, and keeps both parts of a line that a patch cuts in two
(NuScenesMap 1.2 fails on such lines with shapely 2).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import orjson

from lidardistill.datasets.nuscenes.tables import read_table, text_of, token_of, wrong_field
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
    """Map of one location. Create it with `MapExpansion.open`.

    Attributes:
        layers: maps a layer name to its geometries, an object array of shapely Polygons or LineStrings in the
            frame of the map (metres; x, y of nuScenes' global frame), in the order of the file.
    """

    def __init__(self, layers: dict[str, np.ndarray]) -> None:
        shapely = import_shapely()
        self.layers = layers
        self._trees = {name: shapely.STRtree(geometries) for name, geometries in layers.items()}

    @classmethod
    def open(cls, dataroot: Path | str, location: str) -> MapExpansion:
        """Read `maps/expansion/<location>.json`.

        Invalid polygons are left out, as in NuScenesMap's masks. Exception: invalid drivable areas are
        repaired; NuScenesMap uses them unchanged.

        Raises:
            ImportError: shapely is not installed.
            FileNotFoundError: there is no such file.
            ValueError: the file is not a map expansion of version 1.3 or later.
        """
        shapely = import_shapely()
        path = Path(dataroot) / "maps" / "expansion" / f"{location}.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"map expansion {path} is missing. Expected: maps/expansion/*.json in {dataroot}. Download "
                "the map expansion pack (v1.3) of nuScenes, or write a world with `lidardistill synth`."
            )
        try:
            content = orjson.loads(path.read_bytes())
        except orjson.JSONDecodeError as error:
            raise ValueError(f"{path} is not JSON: {error}. Copy or download the file again.") from error
        if not isinstance(content, dict):
            raise ValueError(f"{path}: expected a JSON object of layers. Copy or download the file again.")
        version = str(content.get("version", "1.0"))
        if version < "1.3":
            raise ValueError(
                f"{path}: expected version 1.3 of the map expansion or later, got {version}; download the "
                "latest"
            )
        place = dict(_parsed(path, content, "node", lambda r: (r["token"], (r["x"] + 0.0, r["y"] + 0.0))))

        def corners(tokens: list[str]) -> list[tuple[float, float]]:
            return [place[token] for token in tokens]

        def polygon(record: dict[str, Any]) -> tuple[str, Any]:
            holes = [corners(hole["node_tokens"]) for hole in record["holes"] if hole["node_tokens"]]
            return record["token"], shapely.Polygon(corners(record["exterior_node_tokens"]), holes)

        def line(record: dict[str, Any]) -> tuple[str, Any]:
            tokens = record["node_tokens"]
            return record["token"], shapely.LineString(corners(tokens)) if tokens else None

        def polygons_of(record: dict[str, Any]) -> list[Any]:
            return [polygons[t] for t in record.get("polygon_tokens", [record.get("polygon_token")])]

        polygons = dict(_parsed(path, content, "polygon", polygon))
        lines = dict(_parsed(path, content, "line", line))
        layers: dict[str, np.ndarray] = {}
        for name in POLYGON_LAYERS:
            pieces = _array([p for ps in _parsed(path, content, name, polygons_of) for p in ps])
            valid = shapely.is_valid(pieces)
            layers[name] = shapely.make_valid(pieces) if name == "drivable_area" else pieces[valid]
        for name in LINE_LAYERS:
            found = _parsed(path, content, name, lambda r: lines.get(r["line_token"]))
            layers[name] = _array([geometry for geometry in found if geometry is not None])
        return cls(layers)

    def near(self, layer: str, outline: Any) -> np.ndarray:
        """Geometries of a layer near `outline`: their bounds meet its bounds. In the order of the file."""
        return self.layers[layer][np.sort(self._trees[layer].query(outline))]


def locations(dataroot: Path | str, version: str) -> dict[str, str]:
    """Maps each scene name to its location, from the tables scene and log.

    Raises:
        FileNotFoundError: a table is missing.
        ValueError: a field has a wrong type, or a reference is dangling.
    """
    folder = Path(dataroot) / version
    for name in ("scene", "log"):
        if not (folder / f"{name}.json").is_file():
            raise FileNotFoundError(
                f"table {folder / name}.json is missing; it tells where a scene was recorded"
            )
    place_of = {
        text_of(row, "token", "log"): token_of(row, "location", "log") for row in read_table(folder, "log")
    }
    found = {}
    for row in read_table(folder, "scene"):
        log = text_of(row, "log_token", "scene")
        if log not in place_of:
            raise wrong_field(row, "log_token", "scene", "a token of log.json")
        found[text_of(row, "name", "scene")] = place_of[log]
    return found


def _parsed(
    path: Path, content: dict[str, Any], layer: str, parse: Callable[[dict[str, Any]], Any]
) -> list[Any]:
    """Parse all records of a layer; the ValueError names file, layer and record."""
    records = content.get(layer)
    if not isinstance(records, list):
        raise ValueError(f"{path}: expected a list as layer {layer!r}. Copy or download the file again.")
    found = []
    for record in records:
        try:
            found.append(parse(record))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            token = record.get("token") if isinstance(record, dict) else record
            raise ValueError(
                f"{path}: {layer} {token!r} is not a record of nuScenes' map expansion "
                f"({type(error).__name__}: {error}). Copy or download the file again."
            ) from error
    return found


def import_shapely() -> ModuleType:
    """Import shapely, a dependency of nuscenes-devkit."""
    try:
        import shapely
    except ImportError as error:
        # shapely and opencv are dependencies of the devkit.
        raise missing_package("nuscenes-devkit", "map segmentation", error) from error
    return shapely


def _array(geometries: list[Any]) -> np.ndarray:
    out = np.empty(len(geometries), dtype=object)
    out[:] = geometries
    return out
