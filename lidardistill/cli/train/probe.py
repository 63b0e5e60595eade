"""`lidardistill probe`."""

from __future__ import annotations

from lidardistill.cli.options import ConfigArgument, OutOption, Overrides, WeightsOption


def run(config: ConfigArgument, weights: WeightsOption, out: OutOption, overrides: Overrides = None) -> None:
    """Linear probe: one layer on a frozen backbone, scored by nuscenes-devkit."""
    from lidardistill.config.io import load_config
    from lidardistill.tasks.segment.config import ProbeConfig

    resolved = load_config(ProbeConfig, config, overrides or ())
    from lidardistill.cli.scores import print_scores
    from lidardistill.tasks.segment.run import probe

    metrics = probe(resolved, weights, out)
    if metrics:  # the first process alone has them
        print_scores(metrics, out)
