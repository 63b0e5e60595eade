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
    from lidardistill.report.runs import finished_runs

    notes: list[str] = []
    if finished := finished_runs(runs):
        from lidardistill.showcase.pictures import write_pictures

        notes = write_pictures(finished)
    write_page(runs, out, notes=notes)
    print(f"report: {out}")
