"""A nuScenes root whose scans and labels are corrupted, as nuScenes-C is: everything that reads nuScenes
reads it.
"""

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
"""nuScenes' raw class of echoes that belong to no object ("dust, vapour, fog, raindrops, reflections");
not evaluated.
"""


def write_corrupted(
    index: NuScenesIndex, rows: Sequence[int] | np.ndarray, out: Path, corrupt: Corrupt
) -> NuScenesIndex:
    """Write some keyframes' scans and labels corrupted; all else is a link into the root they come from.

    Lost points are not in the files, and points that were brought in have the label of noise, which the
    official
    evaluator leaves out: the figure is over the points that are left of the scene, as in Robo3D.

    Args:
        index: the root; it is not changed.
        rows: keyframes to corrupt. Scans of the others are missing and their labels are linked.
        out: new root; must not exist.
        corrupt: changes the (M, 5) stored points of a scan.

    Returns:
        The new root, open.

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
    for row in np.asarray(rows).tolist():
        path = index.lidar_path(row)
        read_points(path, POINT_COLUMNS)  # refuses a scan that cannot be used
        stored = np.fromfile(path, dtype="<f4").reshape(-1, POINT_COLUMNS)
        points, source = corrupt(stored, row)
        _replace(out / path.relative_to(index.dataroot), points.astype("<f4", copy=False).tobytes())
        before = read_lidarseg(index, row)
        label_path = index.lidarseg_path(row)
        assert label_path is not None  # read_lidarseg refuses a root without labels
        after = np.full(len(source), NOISE, dtype=np.uint8)
        after[source >= 0] = before[source[source >= 0]]
        _replace(out / label_path.relative_to(index.dataroot), after.tobytes())
    return NuScenesIndex.open(out, index.version)


def _replace(path: Path, content: bytes) -> None:
    """Write a file where a link may stand, and leave the target of the link alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)
