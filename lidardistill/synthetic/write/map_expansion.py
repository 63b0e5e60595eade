"""Map layers as a JSON file of nuScenes' map expansion, which the devkit's NuScenesMap opens.

NuScenesMap takes the four cities of nuScenes only; for another place, append its name to
`nuscenes.map_expansion.map_api.locations` first.

Source: nuScenes map expansion 1.3, as nuscenes-devkit 1.2 reads it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lidardistill.synthetic.write.recording import MapLayers, MapPolygon

FORMAT_VERSION = "1.3"
POLYGON_LAYERS = (
    "drivable_area",
    "road_segment",
    "road_block",
    "lane",
    "ped_crossing",
    "walkway",
    "stop_line",
    "carpark_area",
    "lane_connector",
)
LINE_LAYERS = ("road_divider", "lane_divider", "traffic_light")
_DECIMALS = 4  # a tenth of a millimetre

Table = list[dict[str, Any]]


def write_map_expansion(
    root: Path,
    location: str,
    layers: MapLayers,
    *,
    shift: np.ndarray,
    canvas_edge_m: tuple[float, float],
    token: Callable[..., str],
) -> Path:
    """Write `maps/expansion/<location>.json`.

    Args:
        root: dataroot; folders are created as needed.
        location: name of the place, as in the log table.
        layers: in global metres.
        shift: (2,) metres, added to all coordinates: from the global frame to the map's, whose origin is a
            corner.
        canvas_edge_m: width and height of the map.
        token: makes a token of what a record is.

    Returns:
        The file.

    Raises:
        ValueError: a layer that nuScenes does not know.
    """
    unknown = sorted((set(layers.polygons) - set(POLYGON_LAYERS)) | (set(layers.lines) - set(LINE_LAYERS)))
    if unknown:
        raise ValueError(
            f"{location}: unknown map layers {', '.join(unknown)}; nuScenes has "
            f"{', '.join(POLYGON_LAYERS + LINE_LAYERS)}"
        )
    file = _File(shift, token)
    tables: dict[str, Any] = {name: [] for name in (*POLYGON_LAYERS, *LINE_LAYERS)}
    for name, pieces in layers.polygons.items():
        tables[name] = [file.polygon_record(name, number, piece) for number, piece in enumerate(pieces)]
    for name, lines in layers.lines.items():
        tables[name] = [file.line_record(name, number, line) for number, line in enumerate(lines)]
    content = {
        "version": FORMAT_VERSION,
        "canvas_edge": list(canvas_edge_m),
        "polygon": file.polygons,
        "line": file.lines,
        "node": file.nodes,
        **tables,
        "arcline_path_3": {},
        "connectivity": {},
    }
    path = root / "maps" / "expansion" / f"{location}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="ascii")
    return path


class _File:
    """Nodes, polygons and lines while they grow; layers refer to them by token."""

    def __init__(self, shift: np.ndarray, token: Callable[..., str]) -> None:
        self.shift = np.asarray(shift, dtype=np.float64)
        self.token = token
        self.nodes: Table = []
        self.polygons: Table = []
        self.lines: Table = []

    def polygon_record(self, layer: str, number: int, piece: MapPolygon) -> dict[str, Any]:
        polygon = self.token("map_polygon", layer, number)
        self.polygons.append(
            {
                "token": polygon,
                "exterior_node_tokens": self._nodes(piece.outline, layer, number, 0),
                "holes": [
                    {"node_tokens": self._nodes(hole, layer, number, place)}
                    for place, hole in enumerate(piece.holes, start=1)
                ],
            }
        )
        record: dict[str, Any] = {"token": self.token("map", layer, number)}
        if layer == "drivable_area":
            return {**record, "polygon_tokens": [polygon]}
        record["polygon_token"] = polygon
        if layer == "stop_line":  # each before the crossing of the same number
            record |= {
                "stop_line_type": "PED_CROSSING",
                "ped_crossing_tokens": [self.token("map", "ped_crossing", number)],
                "traffic_light_tokens": [],
                "road_block_token": "",
            }
        return record

    def line_record(self, layer: str, number: int, line: np.ndarray) -> dict[str, Any]:
        token = self.token("map_line", layer, number)
        self.lines.append({"token": token, "node_tokens": self._nodes(line, layer, number, 0)})
        return {"token": self.token("map", layer, number), "line_token": token}

    def _nodes(self, corners: np.ndarray, layer: str, number: int, part: int) -> list[str]:
        tokens = []
        for place, (x, y) in enumerate((corners + self.shift).round(_DECIMALS).tolist()):
            tokens.append(self.token("map_node", layer, number, part, place))
            self.nodes.append({"token": tokens[-1], "x": x, "y": y})
        return tokens
