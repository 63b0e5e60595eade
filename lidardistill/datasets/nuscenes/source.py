"""nuScenes source with a compact, memory-mapped index, which opens in milliseconds and is shared by all
workers.
"""

from __future__ import annotations

import difflib
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lidardistill.data.frame import Frame, Sweep
from lidardistill.datasets.columns import load_columns
from lidardistill.datasets.files import missing_files
from lidardistill.datasets.nuscenes.cache import (
    candidate_places,
    save_in_first_place,
    source_digest,
)
from lidardistill.datasets.nuscenes.splits import SPLITS, official_scenes, scenes_of_split
from lidardistill.datasets.nuscenes.tables import CAMERAS, LIDAR, collector_paused, find_tables
from lidardistill.datasets.points import read_scan
from lidardistill.spans import spanned

log = logging.getLogger(__name__)

POINT_COLUMNS = 5
"""Number of float32 values of a point in a nuScenes scan: x, y, z, intensity, ring."""


class NuScenesIndex:
    """All keyframes of one version of a nuScenes root. Rows are keyframes, ordered by scene in database
    order, then by time.

    Create it with `NuScenesIndex.open`. A pickled index stores only its path on disk, not its contents.

    Attributes:
        dataroot: root folder; file names are relative to it.
        version: such as v1.0-trainval.
        channels: camera names, in the order of every per-view array.
        left_out: scenes excluded from all splits because of missing files; see `open`.
    """

    kind = "nuscenes"
    columns = POINT_COLUMNS
    rings: int | None = 32
    intensity_scale = 1 / 255
    channels: tuple[str, ...] = CAMERAS

    def __init__(
        self, folder: Path, dataroot: Path, version: str, left_out: frozenset[str] = frozenset()
    ) -> None:
        """Map an existing index; `open` finds or builds it.

        Raises:
            FileNotFoundError: `folder` has no index, or a damaged one.
        """
        loaded = load_columns(folder)
        if loaded is None:
            raise FileNotFoundError(
                f"no usable index in {folder}: its tables changed or it was removed while it was in use. "
                f"Start the command again; the index is then built anew."
            )
        self._set(folder, dataroot, version, *loaded)
        self.left_out = left_out

    def _set(
        self, folder: Path, dataroot: Path, version: str, columns: dict[str, np.ndarray], meta: dict[str, Any]
    ) -> None:
        self.left_out = frozenset()
        self.folder = folder
        self.dataroot = dataroot
        self.version = version
        self.scene_names: tuple[str, ...] = tuple(meta["scene_names"])
        self._columns = columns

    @classmethod
    def open(
        cls,
        dataroot: Path | str,
        version: str,
        *,
        cache_dir: Path | str | None = None,
        build: bool = True,
        missing: Literal["error", "skip"] = "error",
    ) -> NuScenesIndex:
        """Open the index of a root; build it first if there is none or the tables have changed.

        The index is in `<dataroot>/.lidardistill/index-<version>`; if this is read-only, it is under
        LIDARDISTILL_CACHE or ~/.cache/lidardistill.

        Args:
            dataroot: nuScenes root.
            version: name of the folder of tables.
            cache_dir: folder for the index, instead of the default folders.
            build: False raises FileNotFoundError if the index does not exist yet.
            missing: "skip" excludes scenes with a missing scan or picture of a keyframe from all splits, with
                a warning that names them; "error" checks no file here, and reading a missing file fails.

        Raises:
            FileNotFoundError: there is no root or no tables (the message shows the expected tree), or there
                is no index and `build` is False.
            ValueError: the version is unknown, or the tables are inconsistent; see `index.build_columns`.
        """
        root = Path(dataroot).expanduser().absolute()
        tables = find_tables(root, version)
        digest = source_digest(tables)
        places = candidate_places(
            root, version, None if cache_dir is None else Path(cache_dir).expanduser().absolute()
        )
        for place in places:
            loaded = load_columns(place / digest)
            if loaded is not None:
                index = cls.__new__(cls)
                index._set(place / digest, root, version, *loaded)
                return index._checked(missing)
        if not build:
            raise FileNotFoundError(
                f"no index of {tables} in {' or '.join(map(str, places))}. Build it with "
                f"`lidardistill doctor --dataroot {dataroot} --version {version}`."
            )
        return cls(_build(tables, places, digest), root, version)._checked(missing)

    def _checked(self, missing: Literal["error", "skip"]) -> NuScenesIndex:
        if missing == "skip":
            lacking = missing_files(self)
            self.left_out = frozenset(map(self.scene_name, lacking))
            if len(self.left_out) == len(self.scene_names):
                raise FileNotFoundError(
                    f"data.missing=skip leaves nothing: each of the {len(self.scene_names)} scenes of "
                    f"{self.dataroot} ({self.version}) lacks files, such as "
                    f"{next(iter(lacking.values()))[0]}. Unpack at "
                    "least one part."
                )
            if lacking:
                names = [name for name in self.scene_names if name in self.left_out]
                log.warning(
                    "data.missing=skip: %d of %d scenes are left out, because %d of their keyframes lack "
                    "files on disk, such as %s: %s",
                    len(names),
                    len(self.scene_names),
                    len(lacking),
                    next(iter(lacking.values()))[0],
                    ", ".join(names[:8]) + (" ..." if len(names) > 8 else ""),
                )
        if self._columns["distortion"].any():
            log.warning(
                "%s (%s): camera_distortion is not zero, so points are paired with pixels through a lens; "
                "set it to zeros if the pictures are undistorted",
                self.dataroot,
                self.version,
            )
        return self

    def __reduce__(self) -> tuple[type[NuScenesIndex], tuple[Path, Path, str, frozenset[str]]]:
        return type(self), (self.folder, self.dataroot, self.version, self.left_out)

    def __len__(self) -> int:
        return self.num_keyframes

    def __repr__(self) -> str:
        return f"NuScenesIndex({str(self.dataroot)!r}, {self.version!r}, {self.num_keyframes} keyframes)"

    @property
    def num_keyframes(self) -> int:
        return len(self._columns["scene"])

    @property
    def tokens(self) -> tuple[str, ...]:
        """Sample tokens of all rows."""
        return tuple(token.decode() for token in self._columns["sample_tokens"].tolist())

    def sample_token(self, row: int) -> str:
        return self._columns["sample_tokens"][self._row(row)].decode()

    def lidar_token(self, row: int) -> str:
        """sample_data token of the LiDAR keyframe; lidarseg prediction files have this name."""
        return self._columns["lidar_tokens"][self._row(row)].decode()

    def scene_name(self, row: int) -> str:
        return self.scene_names[self._columns["scene"][self._row(row)]]

    def row_of(self, token: str) -> int:
        """Row of a sample token.

        Raises:
            ValueError: no keyframe has this token.
        """
        tokens, order = self._columns["sample_tokens"], self._columns["token_order"]
        place = int(np.searchsorted(tokens, token.encode(), sorter=order))
        row = int(order[place]) if place < len(order) else -1
        if row < 0 or tokens[row] != token.encode():
            raise ValueError(
                f"sample token {token!r} is not in {self.dataroot} ({self.version}, {self.num_keyframes} "
                f"keyframes). Expected a token of its sample.json, such as {self.sample_token(0)}."
            )
        return row

    def rows_of_scenes(self, names: Iterable[str]) -> np.ndarray:
        """Rows of all keyframes of some scenes.

        Args:
            names: scene names, in any order.

        Returns:
            (N,) int64 ascending: by scene in database order, then by time.

        Raises:
            ValueError: a scene is not in the database; the message names the nearest.
        """
        number_of = {name: number for number, name in enumerate(self.scene_names)}
        wanted = np.zeros(len(self.scene_names), dtype=bool)
        for name in names:
            if name not in number_of:
                near = difflib.get_close_matches(name, self.scene_names, n=1, cutoff=0.0)
                raise ValueError(
                    f"unknown scene {name!r}: {self.dataroot} ({self.version}) holds {len(number_of)} "
                    f"scenes. Did you mean {near[0]!r}?"
                )
            wanted[number_of[name]] = True
        return np.flatnonzero(wanted[self._columns["scene"]])

    def scenes_of_split(self, split: str) -> tuple[str, ...]:
        """Scenes of a split, in database order, without the scenes in `left_out`.

        Args:
            split: one of `splits.SPLITS`, `all`, or a text file with one scene name in each line.

        Raises:
            FileNotFoundError: the list file does not exist.
            ValueError: the split is unknown, or none of its scenes is present.
        """
        scenes = scenes_of_split(split, self.scene_names)
        kept = tuple(scene for scene in scenes if scene not in self.left_out)
        if not kept:
            raise ValueError(
                f"split {split!r}: each of its {len(scenes)} scenes lacks files on disk and "
                "data.missing=skip leaves them out. Unpack the parts that hold them, or choose a split with "
                "other scenes."
            )
        return kept

    def rows_of_split(self, split: str) -> np.ndarray:
        """(n,) int64 ascending rows of all keyframes of a split; raises as `scenes_of_split`."""
        return self.rows_of_scenes(self.scenes_of_split(split))

    def lidar_path(self, row: int) -> Path:
        return self.dataroot / self._name("names", self._row(row) * self._slots)

    def image_paths(self, row: int) -> tuple[Path, ...]:
        """V picture files, in the order of `channels`."""
        first = self._row(row) * self._slots + 1
        return tuple(self.dataroot / self._name("names", first + view) for view in range(len(self.channels)))

    def files(self, row: int) -> tuple[Path, ...]:
        """All files of a keyframe: the scan and the V pictures."""
        return (self.lidar_path(row), *self.image_paths(row))

    def splits(self) -> dict[str, tuple[int, int]]:
        """Maps each official split to two numbers: scenes present in this root, and scenes in the split."""
        present = set(self.scene_names)
        official = {name: official_scenes(name) for name in SPLITS}
        return {name: (len(present.intersection(scenes)), len(scenes)) for name, scenes in official.items()}

    def lidarseg_path(self, row: int) -> Path | None:
        """File of the keyframe's point labels, None if the root has none. Opens no file."""
        name = self._name("lidarseg", self._row(row))
        return self.dataroot / name if name else None

    def sweeps(self, row: int) -> tuple[Sweep, ...]:
        """LiDAR scans between the previous keyframe of the same scene and this one, by time."""
        first, last = self._columns["sweep_offsets"][self._row(row) :][:2].tolist()
        return tuple(
            Sweep(
                self.dataroot / self._name("sweep_names", number),
                int(self._columns["sweep_timestamps_us"][number]),
                np.array(self._columns["sweep_lidar2global"][number]),
            )
            for number in range(first, last)
        )

    def keyframe_scan(self, row: int) -> Sweep:
        """File, time and pose of the keyframe's own LiDAR scan; reads no file."""
        row = self._row(row)
        columns = self._columns
        sensor2ego = columns["sensor2ego"][columns["calibration"][row, 0]]
        return Sweep(
            self.lidar_path(row),
            int(columns["timestamps_us"][row, 0]),
            np.array(columns["ego2global"][row] @ sensor2ego),
        )

    @spanned("read tables and sweep")
    def frame(self, row: int) -> Frame:
        """Read a keyframe's scan and calibration; does not read pictures or labels.

        Args:
            row: 0 .. num_keyframes - 1.

        Returns:
            The keyframe, V = 6 cameras in the order of `channels`.

        Raises:
            FileNotFoundError: the scan is missing.
            CorruptSample: the scan is empty or truncated, or most of its points are NaN or infinite.
        """
        row = self._row(row)
        path = self.lidar_path(row)
        points, kept = read_scan(path, POINT_COLUMNS)
        columns = self._columns
        times, calibration = columns["timestamps_us"][row], columns["calibration"][row]
        distortion = columns["distortion"][calibration[1:]]
        return Frame(
            sample_token=self.sample_token(row),
            scene_name=self.scene_name(row),
            timestamp_us=int(times[0]),
            lidar_path=path,
            points=points,
            channels=self.channels,
            image_paths=self.image_paths(row),
            image_timestamps_us=np.array(times[1:]),
            image_size=columns["image_size"][row].astype(np.int64),
            lidar2cam=np.array(columns["lidar2cam"][row]),
            cam2img=columns["cam2img"][calibration[1:]],
            lidar2ego=np.array(columns["sensor2ego"][calibration[0]]),
            ego2global=np.array(columns["ego2global"][row]),
            distortion=distortion if distortion.any() else None,
            kept=kept,
        )

    @property
    def _slots(self) -> int:
        return 1 + len(self.channels)

    def _row(self, row: int) -> int:
        if not 0 <= row < self.num_keyframes:
            raise IndexError(
                f"row {row}: expected 0 .. {self.num_keyframes - 1} ({LIDAR} keyframes of {self.version})"
            )
        return int(row)

    def _name(self, column: str, number: int) -> str:
        first, last = self._columns[f"{column}_offsets"][number : number + 2]
        return self._columns[column][first:last].tobytes().decode()


def _build(tables: Path, places: list[Path], digest: str) -> Path:
    """Build the index in the first writable folder; return the folder of the index."""
    # Imported here because the builder imports numba through the geometry layer; opening an index does not
    # need it.
    from lidardistill.datasets.nuscenes.index import build_columns

    if any(place.is_dir() and any(place.glob("v*")) for place in places):
        log.warning(
            "the tables in %s or the index format changed since they were indexed: building the index anew",
            tables,
        )
    else:
        log.info("indexing %s; this happens once", tables)
    start = time.perf_counter()
    with collector_paused():
        columns, meta = build_columns(tables)
    folder = save_in_first_place(
        places, digest, columns, meta, what=f"the index of {tables}", bytes_a_keyframe="3 kB"
    )
    log.info("indexed %d keyframes in %.1f s: %s", len(columns["scene"]), time.perf_counter() - start, folder)
    return folder
