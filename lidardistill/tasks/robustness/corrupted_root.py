"""A nuScenes root whose scans and labels are corrupted, as nuScenes-C is: everything that reads nuScenes reads it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from lidardistill.corruptions.scan import CorruptedScan
from lidardistill.corruptions.table import NEEDS_VEHICLES, Corruption
from lidardistill.datasets.nuscenes.labels import read_lidarseg
from lidardistill.datasets.nuscenes.source import POINT_COLUMNS, NuScenesIndex
from lidardistill.datasets.points import read_points
from lidardistill.tasks.robustness.vehicle_points import labelled_vehicles


def labelled_corruption(index: NuScenesIndex, name: str, severity: int, seed: int) -> Corruption:
    """A corruption that takes vehicles from lidarseg labels where it needs them."""
    vehicles = partial(labelled_vehicles, index) if name in NEEDS_VEHICLES else None
    return Corruption(name, severity, seed, vehicles)


def write_corrupted(
    index: NuScenesIndex, rows: Sequence[int] | np.ndarray, out: Path, corruption: Corruption
) -> dict[int, CorruptedScan]:
    """Write some keyframes' scans and labels corrupted; all else is a link into the root they come from.

    Lost points are not in the files, and injected ones have the label of noise, which the official evaluator leaves
    out: the figure is over the points that are left of the scene, as in Robo3D.

    Args:
        index: the root; it is not changed.
        rows: keyframes to corrupt. Of the others, scans are missing and labels are linked.
        out: new root; must not exist.
        corruption: which, how badly, and the seed.

    Returns:
        For each row whose scan got an object that is not there, the corrupted scan.

    Raises:
        FileExistsError: `out` exists.
        CorruptSample: a scan that cannot be used.
    """
    out.mkdir(parents=True)
    for entry in index.dataroot.iterdir():
        if entry.name not in ("samples", "lidarseg", ".lidardistill"):
            (out / entry.name).symlink_to(entry.resolve())
    cache = out / ".lidardistill"
    cache.mkdir()
    # Under the name that NuScenesIndex.open looks for: the tables are the same, so their index is too.
    (cache / f"index-{index.version}").symlink_to(index.folder.parent.resolve())
    labels = index.dataroot / "lidarseg" / index.version
    (out / "lidarseg" / index.version).mkdir(parents=True)
    for path in labels.glob("*.bin"):  # the devkit counts them
        (out / "lidarseg" / index.version / path.name).symlink_to(path.resolve())

    attacked: dict[int, CorruptedScan] = {}
    for row in np.asarray(rows).tolist():
        path = index.lidar_path(row)
        read_points(path, POINT_COLUMNS)  # refuses what cannot be used
        stored = np.fromfile(path, dtype="<f4").reshape(-1, POINT_COLUMNS)
        scan = corruption.scan(stored, row, rings=stored[:, 4].astype(np.int64))
        _replace(out / path.relative_to(index.dataroot), scan.points.astype("<f4", copy=False).tobytes())
        label_path = index.lidarseg_path(row)
        labels_before = read_lidarseg(index, row)
        assert label_path is not None  # read_lidarseg refuses a root without labels
        _replace(out / label_path.relative_to(index.dataroot), scan.labels(labels_before).tobytes())
        if scan.fake_box is not None:
            attacked[row] = scan
    return attacked


def _replace(path: Path, content: bytes) -> None:
    """Write a file where a link may stand, and leave alone what that points to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)
