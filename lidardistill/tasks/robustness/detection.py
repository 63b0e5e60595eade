"""Robustness of a detector: the recipe corrupts the scans, and the boxes stay unchanged."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from lidardistill.corruptions.table import ATTACKS, NEEDS_VEHICLES, Corruption
from lidardistill.datasets.kinds import open_source
from lidardistill.datasets.label_kinds import box_classes, open_labels
from lidardistill.datasets.labelled import FrameDetections
from lidardistill.datasets.sweeps import read_sweeps
from lidardistill.engine.distributed import pick_device
from lidardistill.tasks.detect.build import load_detector
from lidardistill.tasks.detect.config import DetectConfig
from lidardistill.tasks.detect.run import evaluate_detector, predictions
from lidardistill.tasks.robustness.judge import Judged
from lidardistill.tasks.robustness.score import detection_succeeds
from lidardistill.tasks.robustness.vehicle_points import boxed_vehicles, places_of_vehicles
from lidardistill.tasks.runs import read_run


class DetectionJudge:
    """NDS on clean and on corrupted scans.

    With sweeps, the corruption changes the merged points of all sweeps as if they were one scan of the
    keyframe's sensor.

    Args:
        run: detection run without cameras.
        split: such as val or mini_val.
        out: folder that gets the clean detections.
        seed: seed of all corruptions.

    Raises:
        ValueError: a run of another verb, or a run with cameras, whose images are not corrupted.
    """

    metric = "NDS"

    def __init__(self, run: Path, split: str, out: Path, seed: int) -> None:
        self.run, self.split, self.out, self.seed = run, split, out, seed
        self.config = read_run(run, DetectConfig)
        if self.config.camera is not None:
            raise ValueError(
                f"{run} reads cameras too: expected a detector of LiDAR alone, because only scans are "
                "corrupted here"
            )
        self.device = pick_device(self.config.trainer.accelerator)
        self.index = open_source(self.config.data)
        self.detector = load_detector(self.config, run)
        self.evaluator = ""

    def clean(self) -> float:
        metrics = evaluate_detector(self.run, self.split, self.out)
        self.evaluator = metrics["evaluator"]
        return metrics["nds"]

    def corrupted(self, name: str, severity: int) -> Judged:
        corruption = self.corruption(name, severity)
        hits: list[bool] = []
        found = predictions(self.detector, self.config, self.index, self.split, self.device, corruption)
        if name in ATTACKS:
            found = self._watched(found, corruption, hits)
        with tempfile.TemporaryDirectory(prefix=f".{self.out.name}.", dir=self.out.parent) as folder:
            judge = open_labels(self.index).box_judge()
            path = judge.write(Path(folder) / "detections.json", self.split, found)
            metrics = judge.score(self.split, path)
        return Judged(metrics["nds"], metrics["ap"], sum(hits) / len(hits) if hits else None)

    def corruption(self, name: str, severity: int) -> Corruption:
        """Corruption that finds vehicles by boxes, if it needs vehicles."""
        vehicles = None
        if name in NEEDS_VEHICLES:
            vehicles = partial(boxed_vehicles, open_labels(self.index).boxes())
        return Corruption(name, severity, self.seed, vehicles)

    def _watched(
        self, found: Iterator[tuple[str, FrameDetections]], corruption: Corruption, hits: list[bool]
    ) -> Iterator[tuple[str, FrameDetections]]:
        """Pass the detections on; append to `hits` whether the detector found each keyframe's fake car."""
        vehicles = places_of_vehicles(box_classes(self.config.data.kind))
        for token, detections in found:
            row = self.index.row_of(token)
            points = read_sweeps(self.index, row, self.config.data.sweeps)
            box = corruption.scan(points, row).fake_box
            assert box is not None
            mine = np.isin(detections.labels, vehicles)
            hits.append(detection_succeeds(detections.boxes[mine, :2], detections.scores[mine], box[:2]))
            yield token, detections
