"""`lidardistill evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lidardistill.cli.options import VersionOption

TaskOption = Annotated[str, typer.Option(metavar="lidarseg|detection", help="What is judged.")]


def run(
    split: Annotated[str, typer.Option(help="Such as val or mini_val.", show_default=False)],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Predictions and metrics.json.", show_default=False)
    ],
    run: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="A probe, fine-tuning or detection run.", show_default=False),
    ] = None,
    task: TaskOption = "lidarseg",
    submission: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Detections in devkit format instead of a run.", show_default=False
        ),
    ] = None,
    dataroot: Annotated[
        Path | None, typer.Option(metavar="DIR", help="nuScenes root, with --submission.", show_default=False)
    ] = None,
    version: VersionOption = "v1.0-trainval",
) -> None:
    """Write predictions in devkit format and have nuscenes-devkit score them."""
    known = _task(task)
    if known == "lidarseg" and (run is None or submission is not None or dataroot is not None):
        raise ValueError("--task lidarseg: expected --run RUN, and no --submission or --dataroot")
    if known == "detection" and (run is None) == (submission is None):
        raise ValueError("--task detection: expected either --run RUN or --submission FILE")
    if submission is not None and dataroot is None:
        raise ValueError("--submission: expected --dataroot DIR, whose boxes it is judged by")
    from lidardistill.cli.scores import print_detection_scores, print_scores

    if known == "lidarseg":
        from lidardistill.engine.downstream import evaluate

        assert run is not None
        print_scores(evaluate(run, split, out), out)
        return
    from lidardistill.engine.detect import evaluate_detector, evaluate_submission

    if run is not None:
        metrics = evaluate_detector(run, split, out)
    else:
        assert submission is not None
        assert dataroot is not None
        metrics = evaluate_submission(submission, dataroot, version, split, out)
    print_detection_scores(metrics, out)


def _task(name: str) -> Literal["lidarseg", "detection"]:
    if name == "lidarseg":
        return "lidarseg"
    if name == "detection":
        return "detection"
    raise ValueError(f"--task {name}: expected lidarseg or detection")
