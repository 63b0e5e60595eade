"""`lidardistill probe`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from lidardistill.cli.options import OutOption, Overrides, WeightsOption, config_argument


def run(
    config: Annotated[Path, config_argument("configs/probe/demo.yaml")],
    weights: WeightsOption,
    out: OutOption,
    overrides: Overrides = None,
) -> None:
    """Linear probe: train one layer on a frozen backbone, and score it with nuscenes-devkit."""
    from lidardistill.config.io import load_config
    from lidardistill.tasks.segment.config import ProbeConfig

    resolved = load_config(ProbeConfig, config, overrides or ())
    from lidardistill.cli.scores import print_scores
    from lidardistill.tasks.segment.run import probe

    metrics = probe(resolved, weights, out)
    if metrics:  # the first process alone has them
        print_scores(metrics, out)
