"""`lidardistill finetune`."""

from __future__ import annotations

from lidardistill.cli.options import ConfigArgument, OutOption, Overrides, WeightsOption


def run(config: ConfigArgument, weights: WeightsOption, out: OutOption, overrides: Overrides = None) -> None:
    """Fine-tune all weights on a share of the labels, scored by nuscenes-devkit."""
    from lidardistill.config.io import load_config
    from lidardistill.tasks.segment.config import FinetuneConfig

    resolved = load_config(FinetuneConfig, config, overrides or ())
    from lidardistill.cli.scores import print_scores
    from lidardistill.tasks.segment.run import finetune

    metrics = finetune(resolved, weights, out)
    if metrics:  # the first process alone has them
        print_scores(metrics, out)
