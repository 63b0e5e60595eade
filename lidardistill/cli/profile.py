"""`lidardistill profile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lidardistill.cli.options import ConfigArgument, Overrides


def run(
    config: ConfigArgument,
    overrides: Overrides = None,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="File for the trace of one step, which Perfetto opens.")
    ] = Path("profile_trace.json"),
    steps: Annotated[int, typer.Option(min=1, help="Steps that count, after two warm-up steps.")] = 5,
) -> None:
    """Show time and memory of a pretraining step, part by part, and the shortest time possible on this
    machine.
    """
    from lidardistill.bench.profile.run import profile_step, table
    from lidardistill.config.io import load_config
    from lidardistill.tasks.pretrain.config import PretrainConfig

    for line in table(profile_step(load_config(PretrainConfig, config, overrides or ()), out, steps)):
        print(line)
