"""`lidardistill detect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lidardistill.cli.options import OutOption, Overrides, WeightsOption, config_argument


def run(
    config: Annotated[Path, config_argument("configs/detect/demo.yaml")],
    weights: WeightsOption,
    out: OutOption,
    overrides: Overrides = None,
    camera_weights: Annotated[
        str,
        typer.Option(
            metavar="RUN|FILE|random", help="Weights of the camera network: a run, a file, or random."
        ),
    ] = "random",
) -> None:
    """Fine-tune a CenterPoint detector on a share of the boxes, and score it with nuscenes-devkit."""
    from lidardistill.config.io import load_config
    from lidardistill.tasks.detect.config import DetectConfig

    resolved = load_config(DetectConfig, config, overrides or ())
    from lidardistill.cli.scores import print_detection_scores
    from lidardistill.tasks.detect.run import detect

    metrics = detect(resolved, weights, out, camera_weights=camera_weights)
    if metrics:  # the first process alone has them
        print_detection_scores(metrics, out)
