"""`lidardistill profile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lidardistill.cli.options import Overrides, config_argument


def run(
    config: Annotated[Path, config_argument("configs/pretrain/demo.yaml")],
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Trace of one step, to open in Perfetto.")] = Path(
        "profile_trace.json"
    ),
    steps: Annotated[int, typer.Option(min=1, help="Steps to time, after two warm-up steps.")] = 5,
) -> None:
    """Measure time and memory of each part of a pretraining step, beside the limits of this machine."""
    from lidardistill.bench.profile.run import profile_step, table
    from lidardistill.config.io import load_config
    from lidardistill.tasks.pretrain.config import PretrainConfig

    for line in table(profile_step(load_config(PretrainConfig, config, overrides or ()), out, steps)):
        print(line)
