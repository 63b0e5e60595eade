"""A data set whose scans and labels are corrupted: everything that reads the data set reads it."""

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
    """A corruption that takes vehicles from point labels if it needs them."""
    vehicles = partial(labelled_vehicles, open_labels(source).points()) if name in NEEDS_VEHICLES else None
    return Corruption(name, severity, seed, vehicles)


def write_corrupted(
    source: Source, rows: Sequence[int] | np.ndarray, out: Path, corruption: Corruption
) -> tuple[Source, dict[int, CorruptedScan]]:
    """Write some keyframes' scans and labels corrupted; see `Labels.write_corrupted`.

    Returns:
        The corrupted data set, and by row each corrupted scan with an object that is not there.

    Raises:
        FileExistsError: `out` exists.
        CorruptSample: a scan that cannot be used.
    """
    attacked: dict[int, CorruptedScan] = {}

    def corrupt(stored: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
        scan = corruption.scan(stored, row, rings=stored[:, 4].astype(np.int64))
        if scan.fake_box is not None:
            attacked[row] = scan
        return scan.points, scan.origin()

    return open_labels(source).write_corrupted(rows, out, corrupt), attacked
