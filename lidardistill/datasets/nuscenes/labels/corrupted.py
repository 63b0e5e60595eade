"""Corrupted copy of a nuScenes root, such as nuScenes-C. Every reader of nuScenes can read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lidardistill.datasets.labelled import Corrupt
from lidardistill.datasets.nuscenes.labels.points import read_lidarseg
from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES
from lidardistill.datasets.nuscenes.source import POINT_COLUMNS, NuScenesIndex
from lidardistill.datasets.points import read_points

NOISE = RAW_CLASSES.index("noise")
"""nuScenes' raw class of echoes without an object ("dust, vapour, fog, raindrops, reflections"); not
evaluated.
"""


def write_corrupted(
    index: NuScenesIndex, rows: Sequence[int] | np.ndarray, out: Path, corrupt: Corrupt
) -> NuScenesIndex:
    """Write corrupted scans and labels of some keyframes to a new root; other files link to the old root.

    Lost points are not in the files. Injected points have the label noise, which the official evaluator
    ignores. The score therefore covers the remaining points of the scene, as in Robo3D.

    Args:
        index: index of the old root, which does not change.
        rows: keyframes to corrupt. The new root has no scans of other keyframes, and links to their labels.
        out: new root; must not exist.
        corrupt: function that corrupts the (M, 5) stored points of a scan.

    Returns:
        The open index of the new root.

    Raises:
        FileExistsError: `out` exists.
        CorruptSample: a scan is invalid.
    """
    out.mkdir(parents=True)
    for entry in index.dataroot.iterdir():
        if entry.name not in ("samples", "lidarseg", ".lidardistill"):
            (out / entry.name).symlink_to(entry.resolve())
    cache = out / ".lidardistill"
    cache.mkdir()
    # The link has the name that NuScenesIndex.open expects; the tables are the same, so the index is valid.
    (cache / f"index-{index.version}").symlink_to(index.folder.parent.resolve())
    labels = index.dataroot / "lidarseg" / index.version
    (out / "lidarseg" / index.version).mkdir(parents=True)
    for path in labels.glob("*.bin"):  # the devkit counts these files
        (out / "lidarseg" / index.version / path.name).symlink_to(path.resolve())
    for row in np.asarray(rows).tolist():
        path = index.lidar_path(row)
        read_points(path, POINT_COLUMNS)  # raises CorruptSample for an invalid scan
        stored = np.fromfile(path, dtype="<f4").reshape(-1, POINT_COLUMNS)
        points, source = corrupt(stored, row)
        _replace(out / path.relative_to(index.dataroot), points.astype("<f4", copy=False).tobytes())
        before = read_lidarseg(index, row)
        label_path = index.lidarseg_path(row)
        assert label_path is not None  # read_lidarseg raises an error for a root without labels
        after = np.full(len(source), NOISE, dtype=np.uint8)
        after[source >= 0] = before[source[source >= 0]]
        _replace(out / label_path.relative_to(index.dataroot), after.tobytes())
    return NuScenesIndex.open(out, index.version)


def _replace(path: Path, content: bytes) -> None:
    """Write a file; if the path is a link, replace the link and keep its target unchanged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)
