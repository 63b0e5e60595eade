"""Robustness of a segmentation run: writes one nuScenes root per corruption and severity."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lidardistill.corruptions.scan import CorruptedScan
from lidardistill.datasets.kinds import open_source
from lidardistill.datasets.label_kinds import open_labels
from lidardistill.datasets.labelled import PointJudge
from lidardistill.tasks.robustness.corrupted_root import labelled_corruption, write_corrupted
from lidardistill.tasks.robustness.judge import Judged
from lidardistill.tasks.robustness.score import attack_succeeds
from lidardistill.tasks.robustness.vehicle_points import places_of_vehicles
from lidardistill.tasks.segment.run import evaluate, open_classifier, predictions


class SegmentationJudge:
    """mIoU on clean and on corrupted scans.

    For each corruption and severity, the judge writes a root with the corrupted scans and labels to a
    temporary folder beside `out`, predicts it, scores it with the evaluator of the clean scans, and deletes
    it. The root lacks points that the corruption removed; points that it added are labelled as noise, which
    no evaluator counts.

    Args:
        run: probe or fine-tuning run.
        split: such as val or mini_val.
        out: folder that gets the clean predictions.
        seed: seed of all corruptions.
    """

    metric = "mIoU"

    def __init__(self, run: Path, split: str, out: Path, seed: int) -> None:
        self.run, self.split, self.out, self.seed = run, split, out, seed
        self.model, self.config, self.device = open_classifier(run)
        self.index = open_source(self.config.data)
        self.rows = self.index.rows_of_split(split)
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
            index, attacked = write_corrupted(self.index, self.rows, root, corruption)
            voxels = self.config.student.scan_input(self.config.voxels)
            judge = open_labels(index).point_judge()
            judge.write(
                results,
                self.split,
                predictions(self.model, data, voxels, index, self.split, self.device),
            )
            metrics = judge.score(self.split, results)
            success = self._success(judge, results, attacked) if attacked else None
        return Judged(_finite(metrics["miou"], f"{name} of severity {severity}"), metrics["iou"], success)

    def _success(self, judge: PointJudge, results: Path, attacked: dict[int, CorruptedScan]) -> float:
        """Share of the attacked keyframes in which the model predicts the fake points as a vehicle."""
        vehicles = places_of_vehicles(open_labels(self.index).points().classes)
        hits = 0
        for row, scan in attacked.items():
            predicted = judge.read_prediction(judge.prediction_file(results, self.split, row))
            hits += attack_succeeds(predicted[scan.injected], vehicles)
        return hits / len(attacked)


def _finite(miou: float | None, what: str) -> float:
    if miou is None:
        raise ValueError(f"{what}: no evaluated class is there, so there is no mIoU to compare")
    return miou
