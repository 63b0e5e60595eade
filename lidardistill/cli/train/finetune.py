"""`lidardistill finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from lidardistill.cli.options import OutOption, Overrides, WeightsOption, config_argument


def run(
    config: Annotated[Path, config_argument("configs/finetune/demo.yaml")],
    weights: WeightsOption,
    out: OutOption,
    overrides: Overrides = None,
) -> None:
    """Fine-tune all weights on a share of the labels, and score them with nuscenes-devkit."""
    from lidardistill.config.io import load_config
    from lidardistill.tasks.segment.config import FinetuneConfig

    resolved = load_config(FinetuneConfig, config, overrides or ())
    from lidardistill.cli.scores import print_scores
    from lidardistill.tasks.segment.run import finetune

    metrics = finetune(resolved, weights, out)
    if metrics:  # the first process alone has them
        print_scores(metrics, out)
