"""`lidardistill probe`."""

from __future__ import annotations

import typer

from lidardistill.cli.options import ConfigArgument, OutOption, Overrides, WeightsOption


def run(config: ConfigArgument, weights: WeightsOption, out: OutOption, overrides: Overrides = None) -> None:
    """Linear probe: one layer on a frozen backbone, scored by nuscenes-devkit."""
    from lidardistill.config.io import load_config
    from lidardistill.tasks.segment.config import ProbeConfig

    resolved = load_config(ProbeConfig, config, overrides or ())
    from lidardistill.cli.scores import print_scores
    from lidardistill.engine.signals import Interrupted
    from lidardistill.tasks.segment.run import probe

    try:
        print_scores(probe(resolved, weights, out), out)
    except Interrupted as stopped:
        print(stopped)
        raise typer.Exit(stopped.exit_code) from None
