"""Scores of detections by nuscenes-devkit: NDS, mAP, and the errors of true positives.

Properties of the evaluator:

- The evaluator ignores boxes farther from the ego car than a limit of their class (30 m for cones and
  barriers, 40 m for pedestrians and two-wheelers, 50 m for the rest). It ignores annotated boxes without any
  LiDAR or radar point, and two-wheelers in bicycle racks. A detection of an annotated box without points is a
  false positive.
- A class without annotated boxes scores AP 0 and errors of 1, so a small split cannot reach NDS 1.
- The velocity error ignores annotations without a velocity, and the attribute error those without an
  attribute. If no annotation of a class has one, the error of the class is 1. Cones have no orientation,
  velocity and attribute error, barriers no velocity and attribute error.
- Classes with a recall below 10 % have errors of 1.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import tempfile
import warnings
from collections import Counter
from importlib.metadata import version as version_of
from pathlib import Path
from types import ModuleType
from typing import Any

from lidardistill.atomic import write_json_atomic
from lidardistill.datasets.listed import split_label
from lidardistill.datasets.nuscenes.detection_classes import CATEGORY_TO_CLASS, CLASSES
from lidardistill.datasets.nuscenes.labels.devkit import (
    check_split,
    import_evaluator,
    rows_of_split,
    scenes_judged,
)
from lidardistill.datasets.nuscenes.labels.submission import read_detections
from lidardistill.datasets.nuscenes.source import NuScenesIndex

CONFIG = "detection_cvpr_2019"
"""Name of the official settings."""

_TP_ERRORS = {
    "trans_err": "trans",
    "scale_err": "scale",
    "orient_err": "orient",
    "vel_err": "vel",
    "attr_err": "attr",
}

_FAR_AWAY_M = 1e7


def score_detections(
    dataroot: Path | str,
    version: str,
    split: str,
    path: Path | str,
    *,
    index: NuScenesIndex | None = None,
) -> dict[str, Any]:
    """Score a submission with `nuscenes.eval.detection.evaluate.DetectionEval`.

    Args:
        dataroot: nuScenes root with annotations.
        version: such as v1.0-mini.
        split: such as mini_val. Splits unknown to the devkit (slidr_val, all, a list file) are passed to it
            as custom splits.
        path: submission file of `write_detections` or another detector.
        index: open index of the same root, if available.

    Returns:
        nds, map: 0..1;
        tp_errors: trans (metres), scale (1 - IoU), orient (radians), vel (metres per second), attr (1 -
            accuracy), means over classes;
        ap: maps the ten class names to 0..1, means over distances; ap_by_distance: maps them to one AP for
            each of 0.5, 1, 2, 4 m;
        tp_errors_by_class: the same errors for each class, None if the class has no such error;
        num_annotations: number of evaluated boxes of each class; if it is 0, the AP of 0 has no meaning;
        evaluator; num_detections; num_keyframes; split; version; meta: flags of the submission.

    Raises:
        ImportError: nuscenes-devkit is not installed; the message says how to install it.
        FileNotFoundError: there is no such file.
        ValueError: the submission is invalid, see `read_detections`; or the data set lacks a scene of the
            split; or the split has no annotated box.
    """
    devkit = import_evaluator("detection")
    index = index or NuScenesIndex.open(dataroot, version)
    check_split(index, split)
    rows = rows_of_split(index, split)
    content = read_detections(path, map(index.sample_token, rows))
    with tempfile.TemporaryDirectory(prefix="lidardistill-detection-") as scratch:
        figures = _devkit_figures(devkit, index, split, Path(path), content, Path(scratch))
    return {
        **figures,
        "evaluator": f"nuscenes-devkit {version_of('nuscenes-devkit')} DetectionEval {CONFIG}",
        "num_detections": sum(map(len, content["results"].values())),
        "num_keyframes": len(rows),
        "split": split,
        "version": version,
        "meta": content["meta"],
    }


def _devkit_figures(
    devkit: ModuleType, index: NuScenesIndex, split: str, path: Path, content: dict[str, Any], scratch: Path
) -> dict[str, Any]:
    from nuscenes.eval.common.config import config_factory

    if not any(content["results"].values()):
        # Without any box the devkit cannot determine the box type. So the submission gets one box, which the
        # devkit's range filter removes before the evaluation.
        path = _with_a_box_out_of_range(content, scratch / "detections.json")
    quiet = io.StringIO()
    with (
        contextlib.redirect_stdout(quiet),
        contextlib.redirect_stderr(quiet),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            nusc = devkit.NuScenes(version=index.version, dataroot=str(index.dataroot), verbose=False)
            _check_annotated(nusc, set(content["results"]), index, split)
            known = split if _known_to_devkit(split) else _tell_split(nusc, index, split, scratch)
            evaluation = devkit.DetectionEval(
                nusc, config_factory(CONFIG), str(path), known, str(scratch / "out"), verbose=False
            )
            metrics, _ = evaluation.evaluate()
        except AssertionError as error:
            raise ValueError(f"nuscenes-devkit refuses {index.dataroot} with {path}: {error}") from error
    return {
        **_figures(metrics.serialize()),
        "num_annotations": _num_annotations(evaluation.gt_boxes.all),
    }


def _figures(serialized: dict[str, Any]) -> dict[str, Any]:
    """Plain values for JSON: NaN is not valid JSON and becomes None."""

    def plain(value: float) -> float | None:
        return None if math.isnan(value) else float(value)

    return {
        "nds": float(serialized["nd_score"]),
        "map": float(serialized["mean_ap"]),
        "tp_errors": {ours: plain(serialized["tp_errors"][name]) for name, ours in _TP_ERRORS.items()},
        "ap": {name: float(serialized["mean_dist_aps"][name]) for name in CLASSES},
        "ap_by_distance": {
            name: {str(distance): float(ap) for distance, ap in serialized["label_aps"][name].items()}
            for name in CLASSES
        },
        "tp_errors_by_class": {
            name: {
                ours: plain(serialized["label_tp_errors"][name][theirs])
                for theirs, ours in _TP_ERRORS.items()
            }
            for name in CLASSES
        },
    }


def _num_annotations(boxes: list[Any]) -> dict[str, int]:
    found = Counter(box.detection_name for box in boxes)
    return {name: found[name] for name in CLASSES}


def _with_a_box_out_of_range(content: dict[str, Any], path: Path) -> Path:
    """Copy an empty submission to `path` and add one box outside the range of the evaluator."""
    token = next(iter(content["results"]))
    box = {
        "sample_token": token,
        "translation": [_FAR_AWAY_M, _FAR_AWAY_M, 0.0],
        "size": [1.0, 1.0, 1.0],
        "rotation": [1.0, 0.0, 0.0, 0.0],
        "velocity": [0.0, 0.0],
        "detection_name": CLASSES[0],
        "detection_score": 0.0,
        "attribute_name": "",
    }
    write_json_atomic(path, {**content, "results": {**content["results"], token: [box]}})
    return path


def _check_annotated(nusc: Any, tokens: set[str], index: NuScenesIndex, split: str) -> None:
    for annotation in nusc.sample_annotation:
        if annotation["sample_token"] in tokens and annotation["category_name"] in CATEGORY_TO_CLASS:
            return
    raise ValueError(
        f"{index.dataroot} ({index.version}) has no annotated box of the ten classes in {split}: there is "
        "nothing to judge by. Expected sample_annotation.json of nuScenes; its test split has none"
    )


def _tell_split(nusc: Any, index: NuScenesIndex, split: str, scratch: Path) -> str:
    """Register a custom split with the devkit; returns its name there."""
    name = f"lidardistill-{split_label(split)}"
    folder = scratch / index.version
    folder.mkdir()
    (folder / "splits.json").write_text(json.dumps({name: list(scenes_judged(index, split))}))
    # The devkit reads custom splits from the folder of its tables. The tables are already loaded, so dataroot
    # can point to a scratch folder; the user's data set does not change.
    nusc.dataroot = str(scratch)
    return name


def _known_to_devkit(split: str) -> bool:
    from nuscenes.utils.splits import is_predefined_split

    return is_predefined_split(split)
