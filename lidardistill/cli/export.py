"""`lidardistill export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    weights: Annotated[Path, typer.Option(metavar="RUN", help="A pretraining run.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="FILE.safetensors", help="The backbone.", show_default=False)],
) -> None:
    """Export the student backbone alone, with a JSON card beside it."""
    from lidardistill.engine.export import export_backbone

    card = export_backbone(weights, out)
    print(f"{out} ({out.stat().st_size / 1e6:.1f} MB) and {card}")
