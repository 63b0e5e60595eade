"""nuScenes-lidarseg labels: the only module that opens label files. Pretraining never imports it."""

from __future__ import annotations

import numpy as np

from lidardistill.data.frame import CorruptSample
from lidardistill.datasets.nuscenes.lidarseg_classes import RAW_CLASSES
from lidardistill.datasets.nuscenes.source import POINT_COLUMNS, NuScenesIndex


def read_lidarseg(index: NuScenesIndex, row: int) -> np.ndarray:
    """Labels of a keyframe's points.

    Args:
        index: a root with lidarseg.
        row: keyframe.

    Returns:
        (N,) uint8 raw class 0..31 of each point, in the order of the scan file.

    Raises:
        ValueError: this root has no labels for the keyframe.
        FileNotFoundError: the label file or the scan is missing.
        CorruptSample: not one label for each point, or a label that is no class.
    """
    path = index.lidarseg_path(row)
    if path is None:
        raise ValueError(
            f"{index.dataroot} ({index.version}) names no lidarseg labels for sample {index.sample_token(row)}. Expected "
            f"{index.version}/lidarseg.json and lidarseg/{index.version}/*.bin; datasets/README.md says how to obtain "
            f"nuScenes-lidarseg."
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"label file {path} is missing although lidarseg.json names it. Expected: lidarseg/{index.version}/*.bin in "
            f"{index.dataroot}. Download nuScenes-lidarseg for this version."
        )
    labels = np.fromfile(path, dtype=np.uint8)
    num_points = index.lidar_path(row).stat().st_size // (4 * POINT_COLUMNS)
    if len(labels) != num_points:
        raise CorruptSample(
            f"label file {path}: expected one byte for each of the {num_points} points of {index.lidar_path(row)}, got "
            f"{len(labels)}. Copy or download both files again."
        )
    if labels.max(initial=0) >= len(RAW_CLASSES):
        raise CorruptSample(
            f"label file {path}: expected raw classes 0..{len(RAW_CLASSES) - 1}, got {labels.max()}. Copy or download it again."
        )
    return labels
