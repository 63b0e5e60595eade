"""`lidardistill pretrain`."""

from __future__ import annotations

from typing import Annotated

import typer

from lidardistill.cli.options import ConfigArgument, OutOption, Overrides


def run(
    config: ConfigArgument,
    out: OutOption,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build all, run one step, print, write nothing.")
    ] = False,
) -> None:
    """Pretrain a LiDAR backbone from cameras. The same command continues an interrupted run."""
    from lidardistill.config.io import load_config
    from lidardistill.tasks.pretrain.config import PretrainConfig

    resolved = load_config(PretrainConfig, config, overrides or ())
    if dry_run:
        from lidardistill.tasks.pretrain.dry_run import dry_run_report

        print(dry_run_report(resolved))
        return
    from lidardistill.progress import Bar
    from lidardistill.tasks.pretrain.run import pretrain

    pretrain(resolved, out, on_teacher=Bar("teacher features").update)
