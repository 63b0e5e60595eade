"""Corrupted copy of a data set's scans and labels, in the format of the original data set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from lidardistill.corruptions.scan import CorruptedScan
from lidardistill.corruptions.table import NEEDS_VEHICLES, Corruption
from lidardistill.datasets.base import Source
from lidardistill.datasets.label_kinds import open_labels
from lidardistill.tasks.robustness.vehicle_points import labelled_vehicles


def labelled_corruption(source: Source, name: str, severity: int, seed: int) -> Corruption:
    """Corruption that finds vehicles by point labels, if it needs vehicles."""
    vehicles = partial(labelled_vehicles, open_labels(source).points()) if name in NEEDS_VEHICLES else None
    return Corruption(name, severity, seed, vehicles)


def write_corrupted(
    source: Source, rows: Sequence[int] | np.ndarray, out: Path, corruption: Corruption
) -> tuple[Source, dict[int, CorruptedScan]]:
    """Write some keyframes' scans and labels corrupted; see `Labels.write_corrupted`.

    Returns:
        The corrupted data set, and the corrupted scans with a fake object by row.

    Raises:
        FileExistsError: `out` exists.
        CorruptSample: a scan is unusable.
    """
    attacked: dict[int, CorruptedScan] = {}

    def corrupt(stored: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
        scan = corruption.scan(stored, row, rings=stored[:, 4].astype(np.int64))
        if scan.fake_box is not None:
            attacked[row] = scan
        return scan.points, scan.origin()

    return open_labels(source).write_corrupted(rows, out, corrupt), attacked
