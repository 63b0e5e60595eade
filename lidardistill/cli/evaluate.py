"""`lidardistill evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from lidardistill.cli.options import VersionOption

Task = Literal["lidarseg", "detection", "map"]
TaskOption = Annotated[str, typer.Option(metavar="lidarseg|detection|map", help="What to score.")]


def run(
    split: Annotated[
        str, typer.Option(help="Split to score on, such as val or mini_val.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write.", show_default=False)],
    run: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="A run of probe, finetune, detect or mapseg.", show_default=False),
    ] = None,
    task: TaskOption = "lidarseg",
    submission: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Detections in the devkit's format; no --run.", show_default=False),
    ] = None,
    dataroot: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Root folder of nuScenes, for --submission.", show_default=False),
    ] = None,
    version: VersionOption = "v1.0-trainval",
    corruption: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Score on corrupted scans too: all, or a list of fog,snow,beam-missing,crosstalk,motion-blur,"
            "incomplete-echo,cross-sensor,spoofing.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Reference of mCE: a run or its evaluation.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the corruptions.", min=0)] = 0,
) -> None:
    """Score a run on a split: points and boxes with nuscenes-devkit, maps as BEVFusion does."""
    known = _task(task)
    if known != "detection" and (run is None or submission is not None or dataroot is not None):
        raise ValueError(f"--task {task}: expected --run RUN, and no --submission or --dataroot")
    if known == "detection" and (run is None) == (submission is None):
        raise ValueError("--task detection: expected either --run RUN or --submission FILE")
    if submission is not None and dataroot is None:
        raise ValueError("--submission: expected --dataroot DIR too, for the true boxes")
    if corruption is None and baseline is not None:
        raise ValueError("--baseline: expected --corruption too; it is the reference for corrupted scans")
    if corruption is not None:
        if run is None or known == "map":
            raise ValueError("--corruption: expected --run RUN, and --task lidarseg or detection")
        _evaluate_corrupted(run, known, split, out, corruption, baseline, seed)
        return
    if known == "lidarseg":
        from lidardistill.cli.scores import print_scores
        from lidardistill.tasks.segment.run import evaluate

        assert run is not None
        print_scores(evaluate(run, split, out), out)
    elif known == "map":
        from lidardistill.cli.scores import print_maps
        from lidardistill.tasks.mapseg.run import evaluate_maps

        assert run is not None
        print_maps(evaluate_maps(run, split, out), out)
    else:
        from lidardistill.cli.scores import print_detection_scores
        from lidardistill.tasks.detect.run import evaluate_detector, evaluate_submission

        if run is not None:
            metrics = evaluate_detector(run, split, out)
        else:
            assert submission is not None
            assert dataroot is not None
            metrics = evaluate_submission(submission, dataroot, version, split, out)
        print_detection_scores(metrics, out)


def _evaluate_corrupted(
    run: Path,
    task: Literal["lidarseg", "detection"],
    split: str,
    out: Path,
    corruption: str,
    baseline: Path | None,
    seed: int,
) -> None:
    from lidardistill.cli.scores import print_robustness
    from lidardistill.tasks.robustness.run import evaluate_corrupted

    def progress(name: str, severity: int, accuracy: float) -> None:
        print(f"  {name:16s} severity {severity}: {100 * accuracy:5.1f}", file=sys.stderr)

    names = [name.strip() for name in corruption.split(",")]
    result = evaluate_corrupted(
        run, split, out, names, task=task, seed=seed, baseline=baseline, on_score=progress
    )
    print_robustness(result, out)


def _task(name: str) -> Task:
    if name == "lidarseg":
        return "lidarseg"
    if name == "detection":
        return "detection"
    if name == "map":
        return "map"
    raise ValueError(f"--task {name}: expected lidarseg, detection or map")
