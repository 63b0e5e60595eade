"""Evaluate a segmentation run on corrupted scans: Robo3D's protocol, scored by nuscenes-devkit."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lidardistill.data.corrupted_dataset import labelled_corruption, write_corrupted
from lidardistill.data.corrupted_scan import CorruptedScan
from lidardistill.data.corruptions import ATTACKS, SEVERITIES, check_names
from lidardistill.data.lidarseg_classes import CLASSES
from lidardistill.data.nuscenes import NuScenesIndex
from lidardistill.engine.downstream import evaluate, open_classifier, predictions
from lidardistill.engine.scan_batches import split_rows
from lidardistill.evaluation.lidarseg import score, write_metrics, write_predictions
from lidardistill.evaluation.robustness import attack_succeeds, summarize

ROBUSTNESS_FILE = "robustness.json"
VEHICLES = ("bicycle", "bus", "car", "construction_vehicle", "motorcycle", "trailer", "truck")
"""Classes that a feigned car may be taken for."""


def evaluate_corrupted(
    run: Path,
    split: str,
    out: Path,
    corruptions: Sequence[str],
    *,
    seed: int = 0,
    baseline: Path | None = None,
    on_score: Callable[[str, int, float], None] | None = None,
) -> dict[str, Any]:
    """Score a run on clean and on corrupted scans.

    For each corruption and severity a nuScenes root with the corrupted scans and labels is written to a temporary
    folder beside `out`, predicted, scored by the evaluator of the clean scans, and removed.

    Args:
        run: probe or fine-tuning run.
        split: such as val or mini_val.
        out: gets the clean predictions, `metrics.json` and `robustness.json`.
        corruptions: keys of `data.corruptions.SEVERITIES`, or "all" alone.
        seed: of all corruptions; the same seed gives all models the same scans.
        baseline: a run, evaluated here as well, or the `out` of an earlier evaluation; mCE is against it.
        on_score: called after each severity with corruption, severity and mIoU.

    Returns:
        What `robustness.json` holds: split, seed, clean (mIoU), miou (corruption to one mIoU a severity), iou (the same
        by class), rr, mrr, attack_success (attack to one share of the keyframes a severity), and with a baseline ce,
        mce and baseline. Attacks take no part in the means.

    Raises:
        FileNotFoundError: `run` is no run, or has not finished.
        ValueError: an unknown corruption, or a baseline of another split, seed or list.
    """
    names = check_names(corruptions)
    reference = None
    if baseline is not None:
        if (baseline / ROBUSTNESS_FILE).is_file():
            reference = json.loads((baseline / ROBUSTNESS_FILE).read_text())
        else:
            reference = evaluate_corrupted(baseline, split, out / "baseline", names, seed=seed)
        _check_comparable(reference, baseline, split, seed, names)
    clean = _finite(evaluate(run, split, out)["miou"], "clean scans")
    model, config, device = open_classifier(run)
    data = config.data
    index = NuScenesIndex.open(data.dataroot, data.version)
    rows = split_rows(index, split)
    miou: dict[str, list[float]] = {name: [] for name in names}
    iou: dict[str, list[dict[str, float | None]]] = {name: [] for name in names}
    success: dict[str, list[float]] = {name: [] for name in names if name in ATTACKS}
    for name in names:
        for severity in range(1, len(SEVERITIES[name]) + 1):
            with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
                root, results = Path(folder) / "root", Path(folder) / "results"
                attacked = write_corrupted(
                    index, rows, root, labelled_corruption(index, name, severity, seed)
                )
                corrupted = NuScenesIndex.open(root, data.version)
                predicted = predictions(model, data, config.voxels, corrupted, split, device)
                write_predictions(results, data.version, split, predicted, dataroot=root)
                metrics = score(root, data.version, split, results)
                if name in success:
                    success[name].append(_success_rate(results / "lidarseg" / split, index, attacked))
            miou[name].append(_finite(metrics["miou"], f"{name} of severity {severity}"))
            iou[name].append(metrics["iou"])
            if on_score is not None:
                on_score(name, severity, miou[name][-1])
    summary = summarize(
        {name: values for name, values in miou.items() if name not in ATTACKS},
        clean,
        None if reference is None else reference["miou"],
    )
    robustness = {
        "split": split,
        "seed": seed,
        "evaluator": metrics["evaluator"],
        "clean": clean,
        "miou": miou,
        **summary,
        "attack_success": success,
        **({} if reference is None else {"baseline": str(baseline)}),
        "iou": iou,
    }
    write_metrics(out / ROBUSTNESS_FILE, robustness)
    return robustness


def _success_rate(folder: Path, index: NuScenesIndex, attacked: dict[int, CorruptedScan]) -> float:
    """Share of the attacked keyframes in which the feigned points are taken for a vehicle."""
    vehicles = [CLASSES.index(name) for name in VEHICLES]
    hits = 0
    for row, scan in attacked.items():
        predicted = np.fromfile(folder / f"{index.lidar_token(row)}_lidarseg.bin", dtype=np.uint8)
        hits += attack_succeeds(predicted[scan.injected], vehicles)
    return hits / len(attacked)


def _check_comparable(
    reference: dict[str, Any], baseline: Path, split: str, seed: int, names: Sequence[str]
) -> None:
    """Refuse before anything is predicted what `summarize` could not compare."""
    found = {key: reference.get(key) for key in ("split", "seed")}
    if found != {"split": split, "seed": seed}:
        raise ValueError(
            f"--baseline {baseline} was evaluated on split {found['split']} with seed {found['seed']}; expected "
            f"{split} and {seed}: evaluate it again, or name its run"
        )
    missing = [name for name in names if name not in reference["miou"]]
    if missing:
        raise ValueError(
            f"--baseline {baseline} was not evaluated on {', '.join(missing)}; evaluate it on the same --corruption"
        )


def _finite(miou: float | None, what: str) -> float:
    if miou is None:
        raise ValueError(f"{what}: no evaluated class is there, so there is no mIoU to compare")
    return miou
