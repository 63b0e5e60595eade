"""`lidardistill evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    run: Annotated[Path, typer.Option(metavar="RUN", help="A probe or fine-tuning run.", show_default=False)],
    split: Annotated[str, typer.Option(help="Such as val or mini_val.", show_default=False)],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Predictions and metrics.json.", show_default=False)
    ],
) -> None:
    """Write predictions in devkit format and have nuscenes-devkit score them."""
    from lidardistill.cli.scores import print_scores
    from lidardistill.engine.downstream import evaluate

    print_scores(evaluate(run, split, out), out)
