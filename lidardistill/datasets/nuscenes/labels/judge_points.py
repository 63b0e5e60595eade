"""Submissions of nuScenes-lidarseg: writing point labels, and scoring them with nuscenes-devkit.

Source: nuScenes-lidarseg challenge (nuscenes-devkit, eval/lidarseg/README.md): a file with one byte per point
for each LiDAR keyframe of a split, classes 1..16, and a submission.json with the inputs of the predictor.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import json
import math
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lidardistill.datasets.listed import split_label
from lidardistill.datasets.nuscenes.labels.devkit import (
    check_split,
    checked_meta,
    import_evaluator,
    rows_of_split,
)
from lidardistill.datasets.nuscenes.labels.metrics import (
    confusion_matrix,
    frequency_weighted_iou,
    iou_per_class,
    mean_iou,
)
from lidardistill.datasets.nuscenes.labels.points import read_lidarseg
from lidardistill.datasets.nuscenes.lidarseg_classes import CLASSES, RAW_TO_CLASS
from lidardistill.datasets.nuscenes.source import POINT_COLUMNS, NuScenesIndex

IGNORED = 0
"""Ignored class, in `CLASSES` and in the devkit."""

TOLERANCE = 1e-9
"""Largest difference between our scores and the devkit's: both divide the same integers."""


def write_predictions(
    out_dir: Path | str,
    version: str,
    split: str,
    predictions: Iterable[tuple[str, np.ndarray]],
    *,
    dataroot: Path | str,
    meta: Mapping[str, bool] | None = None,
    index: NuScenesIndex | None = None,
) -> Path:
    """Write a submission: `lidarseg/<split>/<token>_lidarseg.bin` and `<split>/submission.json`.

    The function consumes the predictions one at a time. It replaces an earlier submission of the split only
    after all predictions are complete and valid.

    Args:
        out_dir: results folder, which may contain other splits.
        version: such as v1.0-mini.
        split: such as mini_val; every keyframe of its scenes in the data set needs a prediction.
        predictions: pairs of the sample_data token of a LIDAR_TOP keyframe (`NuScenesIndex.lidar_token`) and
            (N,) uint8 classes 1..16, one for each point of the scan file, in its order.
        dataroot: nuScenes root; supplies the keyframes and their numbers of points.
        meta: flags that differ from `devkit.META`.
        index: open index of the same root, if available.

    Returns:
        `out_dir`.

    Raises:
        ValueError: a prediction is missing, unexpected, or invalid for the official evaluator.
    """
    flags = checked_meta(meta)
    index = index or NuScenesIndex.open(dataroot, version)
    missing = {index.lidar_token(row): row for row in rows_of_split(index, split)}
    written: set[str] = set()

    out_dir = Path(out_dir)
    target = _label_folder(out_dir, split)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        staging.chmod(0o755)
        for token, labels in predictions:
            if token in written:
                raise ValueError(f"{token} was predicted twice; one prediction a keyframe is expected")
            if token not in missing:
                raise ValueError(
                    f"{token} is no LIDAR_TOP keyframe of {split} in {index.dataroot}; expected the token of "
                    "sample_data (NuScenesIndex.lidar_token), not that of sample"
                )
            _check_prediction(token, labels, _num_points(index, missing.pop(token)))
            (staging / _label_file(token)).write_bytes(labels.tobytes())
            written.add(token)
        if missing:
            raise ValueError(
                f"{split} has {len(written) + len(missing)} keyframes and {len(missing)} have no prediction, "
                f"such as {', '.join(sorted(missing)[:3])}; predict all of them"
            )
        _replace_folder(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    (out_dir / target.name).mkdir(exist_ok=True)
    (out_dir / target.name / "submission.json").write_text(json.dumps({"meta": flags}, indent=2) + "\n")
    return out_dir


def score(
    dataroot: Path | str,
    version: str,
    split: str,
    results_dir: Path | str,
    *,
    index: NuScenesIndex | None = None,
) -> dict[str, Any]:
    """Score a submission with nuscenes-devkit, and check the result with our own confusion matrix.

    Args:
        dataroot: nuScenes root with lidarseg labels.
        version: such as v1.0-mini.
        split: such as mini_val. For splits unknown to the devkit (`slidr_val`) only our own code computes the
            scores, and `evaluator` says so.
        results_dir: results folder of `write_predictions`.
        index: open index of the same root, if available.

    Returns:
        miou, fwiou: 0..1, None if no evaluated class is present;
        iou: maps the 16 class names to 0..1, None for a class neither labelled nor predicted;
        evaluator; num_points: points of all scans; num_points_ignored: points with an ignored label;
        num_keyframes; split; version.

    Raises:
        ImportError: nuscenes-devkit is not installed; the message says how to install it.
        FileNotFoundError: a prediction or a label file is missing.
        ValueError: a prediction is invalid, or the data set lacks a scene of the split: the devkit scores
            only whole splits.
        AssertionError: the devkit's scores and ours differ.
    """
    devkit = import_evaluator("lidarseg")
    devkit_name = f"nuscenes-devkit {importlib.metadata.version('nuscenes-devkit')}"
    index = index or NuScenesIndex.open(dataroot, version)
    if known_to_devkit(split):
        check_split(index, split)
    matrix, counts = _own_matrix(index, split, Path(results_dir))
    ours = _figures(mean_iou(matrix), frequency_weighted_iou(matrix), iou_per_class(matrix))
    if known_to_devkit(split):
        figures = _devkit_figures(devkit, index.dataroot, version, split, Path(results_dir))
        _assert_equal(figures, ours)
        evaluator = f"{devkit_name} LidarSegEval"
    else:
        figures = ours
        evaluator = f"lidardistill confusion matrix ({devkit_name} knows no split {split})"
    return {**figures, "evaluator": evaluator, **counts, "split": split, "version": version}


def _label_folder(results_dir: Path, split: str) -> Path:
    return results_dir / "lidarseg" / split_label(split)


def prediction_file(results_dir: Path, split: str, token: str) -> Path:
    """Prediction file of one LIDAR_TOP token."""
    return _label_folder(results_dir, split) / _label_file(token)


def _label_file(token: str) -> str:
    return f"{token}_lidarseg.bin"


def _num_points(index: NuScenesIndex, row: int) -> int:
    path = index.lidar_path(row)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; it tells how many points a prediction must have")
    return path.stat().st_size // (4 * POINT_COLUMNS)


def _check_prediction(name: str, labels: np.ndarray, num_points: int) -> None:
    if not isinstance(labels, np.ndarray) or labels.dtype != np.uint8 or labels.ndim != 1:
        got = f"{labels.shape} {labels.dtype}" if isinstance(labels, np.ndarray) else type(labels).__name__
        raise ValueError(f"{name}: a prediction is (N,) uint8, got {got}")
    if len(labels) != num_points:
        raise ValueError(
            f"{name}: {num_points} points in the scan and {len(labels)} predictions; every raw point needs "
            "one, those outside the voxel grid too"
        )
    if num_points and not 1 <= labels.min() <= labels.max() < len(CLASSES):
        raise ValueError(
            f"{name}: classes are 1..{len(CLASSES) - 1}, got {labels.min()}..{labels.max()}; 0 (ignore) is "
            "no prediction, and training targets 0..15 are one less than the class"
        )


def _replace_folder(new: Path, target: Path) -> None:
    """Move `new` to `target`; delete the old contents of `target` only after the move."""
    old = new.with_suffix(".old")
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _own_matrix(index: NuScenesIndex, split: str, results_dir: Path) -> tuple[np.ndarray, dict[str, int]]:
    """Confusion matrix of a submission by our own code, and the numbers of points and keyframes."""
    folder = _label_folder(results_dir, split)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{results_dir} holds no predictions for {split}; expected {folder}/TOKEN_lidarseg.bin"
        )
    rows = rows_of_split(index, split)
    matrix = np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    num_points = num_ignored = 0
    for row in rows:
        target = RAW_TO_CLASS[read_lidarseg(index, row)]
        path = folder / _label_file(index.lidar_token(row))
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing; every keyframe of {split} needs a prediction, and there are {len(rows)}"
            )
        prediction = np.fromfile(path, dtype=np.uint8)
        _check_prediction(str(path), prediction, len(target))
        matrix += confusion_matrix(target, prediction, len(CLASSES), ignore=IGNORED)
        num_points += len(target)
        num_ignored += int((target == IGNORED).sum())
    return matrix, {
        "num_points": num_points,
        "num_points_ignored": num_ignored,
        "num_keyframes": len(rows),
    }


def known_to_devkit(split: str) -> bool:
    """Whether the devkit knows a split; it scores only whole splits."""
    from nuscenes.utils.splits import create_splits_scenes

    return split in create_splits_scenes(verbose=False)


def _devkit_figures(
    devkit: ModuleType, dataroot: Path, version: str, split: str, results_dir: Path
) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nanmean warns if no class is present
        try:
            nusc = devkit.NuScenes(version=version, dataroot=str(dataroot), verbose=False)
            result = devkit.LidarSegEval(nusc, str(results_dir), split, verbose=False).evaluate()
        except AssertionError as error:
            raise ValueError(f"nuscenes-devkit refuses {dataroot} with {results_dir}: {error}") from error
    iou = np.array([result["iou_per_class"][name] for name in CLASSES], dtype=np.float64)
    return _figures(result["miou"], result["freq_weighted_iou"], iou)


def _figures(miou: float, fwiou: float, iou: np.ndarray) -> dict[str, Any]:
    """Plain values for JSON, without the ignored class: NaN is not valid JSON and becomes None."""

    def plain(value: float) -> float | None:
        return None if math.isnan(value) else float(value)

    return {
        "miou": plain(miou),
        "fwiou": plain(fwiou),
        "iou": {name: plain(iou[number]) for number, name in enumerate(CLASSES) if number != IGNORED},
    }


def _assert_equal(devkit: dict[str, Any], ours: dict[str, Any]) -> None:
    pairs = {name: (devkit[name], ours[name]) for name in ("miou", "fwiou")}
    pairs |= {f"iou of {name}": (devkit["iou"][name], ours["iou"][name]) for name in devkit["iou"]}
    for name, (theirs, own) in pairs.items():
        same = theirs is own is None or (
            theirs is not None and own is not None and abs(theirs - own) < TOLERANCE
        )
        assert same, f"{name}: nuscenes-devkit says {theirs}, our confusion matrix {own}"
