"""`lidardistill bench`: product and baseline alternately in one process, on one thread."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NAMES = ("projection", "superpixels", "pooling", "voxelize", "loader", "index", "step", "clusters")


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help=", ".join(NAMES), show_default=False)],
    out: Annotated[Path, typer.Option(metavar="FILE.json", help="Figures.", show_default=False)],
    rounds: Annotated[int, typer.Option(help="At least 5.")] = 7,
    dataroot: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Real keyframes; made-up data otherwise.")
    ] = None,
) -> None:
    """Measure one part against a named baseline: medians, IQR, ratio, machine, commit."""
    if name not in NAMES:
        raise ValueError(f"bench {name!r}: expected one of {', '.join(NAMES)}")
    if rounds < 5:
        raise ValueError(f"--rounds {rounds}: a median needs at least 5")
    from lidardistill.cli.bench_record import measure_and_write

    measure_and_write(name, out, rounds=rounds, dataroot=dataroot)
