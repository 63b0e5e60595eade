"""`lidardistill pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lidardistill.cli.options import OutOption, Overrides, config_argument


def run(
    config: Annotated[Path, config_argument("configs/pretrain/demo.yaml")],
    out: OutOption,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Build everything, run one step, print a summary, write nothing."),
    ] = False,
) -> None:
    """Pretrain a LiDAR backbone without labels. To resume an interrupted run, repeat the command."""
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
