"""`lidardistill export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    weights: Annotated[
        Path,
        typer.Option(
            metavar="RUN|FILE",
            help="A run of pretrain or detect, or an exported .safetensors file.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write.", show_default=False)],
    kind: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="safetensors; mmdet3d, mmdet3d-bevfusion or openpcdet (.pth); slidr (.pt).",
        ),
    ] = "safetensors",
) -> None:
    """Export the backbone of a run, with a JSON card beside it."""
    import json

    from lidardistill.export.run import export_backbone

    card = export_backbone(weights, out, kind)
    print(f"{out} ({out.stat().st_size / 1e6:.1f} MB) and {card}")
    for note in json.loads(card.read_text()).get("notes", ()):
        print(f"note: {note}")
