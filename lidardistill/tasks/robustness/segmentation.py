"""A segmentation run on corrupted scans: each corruption becomes a nuScenes root of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from lidardistill.corruptions.scan import CorruptedScan
from lidardistill.datasets.nuscenes.judge_points import score, write_predictions
from lidardistill.datasets.nuscenes.lidarseg_classes import CLASSES
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.tasks.robustness.corrupted_root import labelled_corruption, write_corrupted
from lidardistill.tasks.robustness.judge import Judged
from lidardistill.tasks.robustness.score import attack_succeeds
from lidardistill.tasks.robustness.vehicle_points import VEHICLES
from lidardistill.tasks.rows import split_rows
from lidardistill.tasks.segment.run import evaluate, open_classifier, predictions


class SegmentationJudge:
    """mIoU on clean and on corrupted scans.

    For each corruption and severity a root with the corrupted scans and labels is written to a temporary folder beside
    `out`, predicted, scored by the evaluator of the clean scans, and removed. A point that the corruption lost is not
    in it, and one that it brought is labelled as noise, which no evaluator counts.

    Args:
        run: probe or fine-tuning run.
        split: such as val or mini_val.
        out: gets the clean predictions.
        seed: of all corruptions.
    """

    metric = "mIoU"

    def __init__(self, run: Path, split: str, out: Path, seed: int) -> None:
        self.run, self.split, self.out, self.seed = run, split, out, seed
        self.model, self.config, self.device = open_classifier(run)
        self.index = NuScenesIndex.open(self.config.data.dataroot, self.config.data.version)
        self.rows = split_rows(self.index, split)
        self.evaluator = ""

    def clean(self) -> float:
        metrics = evaluate(self.run, self.split, self.out)
        self.evaluator = metrics["evaluator"]
        return _finite(metrics["miou"], "clean scans")

    def corrupted(self, name: str, severity: int) -> Judged:
        data = self.config.data
        with tempfile.TemporaryDirectory(prefix=f".{self.out.name}.", dir=self.out.parent) as folder:
            root, results = Path(folder) / "root", Path(folder) / "results"
            corruption = labelled_corruption(self.index, name, severity, self.seed)
            attacked = write_corrupted(self.index, self.rows, root, corruption)
            index = NuScenesIndex.open(root, data.version)
            predicted = predictions(
                self.model, data, self.config.student.scan_input(self.config.voxels), index, self.split, self.device
            )
            write_predictions(results, data.version, self.split, predicted, dataroot=root)
            metrics = score(root, data.version, self.split, results)
            success = self._success(results / "lidarseg" / self.split, attacked) if attacked else None
        return Judged(_finite(metrics["miou"], f"{name} of severity {severity}"), metrics["iou"], success)

    def _success(self, folder: Path, attacked: dict[int, CorruptedScan]) -> float:
        """Share of the attacked keyframes in which the feigned points are taken for a vehicle."""
        vehicles = [CLASSES.index(name) for name in VEHICLES]
        hits = 0
        for row, scan in attacked.items():
            token = self.index.lidar_token(row)
            predicted = np.fromfile(folder / f"{token}_lidarseg.bin", dtype=np.uint8)
            hits += attack_succeeds(predicted[scan.injected], vehicles)
        return hits / len(attacked)


def _finite(miou: float | None, what: str) -> float:
    if miou is None:
        raise ValueError(f"{what}: no evaluated class is there, so there is no mIoU to compare")
    return miou
