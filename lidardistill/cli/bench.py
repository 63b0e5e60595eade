"""`lidardistill bench`: time our code and a baseline alternately, in one process and on one thread."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NAMES = (
    "projection",
    "superpixels",
    "pooling",
    "splat",
    "voxelize",
    "visibility",
    "clusters",
    "loader",
    "index",
    "conv",
    "step",
)


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help=", ".join(NAMES), show_default=False)],
    out: Annotated[Path, typer.Option(metavar="FILE.json", help="File for the figures.", show_default=False)],
    rounds: Annotated[int, typer.Option(help="Rounds of measurement, at least 5.")] = 7,
    dataroot: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="nuScenes root with real keyframes; without it, random data."),
    ] = None,
    batch_size: Annotated[
        str, typer.Option(metavar="N,N", help="Batch sizes for `bench step` on the GPU.")
    ] = "4,16",
    precision: Annotated[
        str, typer.Option(metavar="P,P", help="Precisions for `bench step` on the GPU: fp32, bf16, fp16.")
    ] = "fp32,bf16",
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Run `bench step` with a tiny model on the CPU.")
    ] = False,
) -> None:
    """Measure one part against a baseline; write medians, quartiles, the ratio, machine and commit."""
    if name not in NAMES:
        raise ValueError(f"bench {name!r}: expected one of {', '.join(NAMES)}")
    if rounds < 5:
        raise ValueError(f"--rounds {rounds}: a median needs at least 5")
    sizes, precisions = batch_size.split(","), precision.split(",")
    if not all(size.isdigit() and int(size) > 0 for size in sizes):
        raise ValueError(f"--batch-size {batch_size}: expected positive numbers with commas, such as 4,16")
    if not {"fp32", "bf16", "fp16"}.issuperset(precisions):
        raise ValueError(f"--precision {precision}: expected fp32, bf16 or fp16 with commas between")
    from lidardistill.bench.harness.record import measure_and_write

    cases = [(int(size), name) for size in sizes for name in precisions]
    options = {"cases": cases, "rehearse": rehearse} if name == "step" else {}
    measure_and_write(name, out, rounds=rounds, dataroot=dataroot, **options)
