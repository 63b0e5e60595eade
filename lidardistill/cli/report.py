"""`lidardistill report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="Page to write.", show_default=False)],
) -> None:
    """Write one HTML page with curves, scores and pictures of some runs."""
    from lidardistill.report.page import write_page
    from lidardistill.report.runs import map_runs

    if makers := map_runs(runs):
        from lidardistill.showcase.bev_showcase import bev_showcases

        bev_showcases(makers)
    write_page(runs, out)
    print(f"report: {out}")
