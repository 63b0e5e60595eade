"""Arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def config_argument(example: str) -> Any:
    """Return the argument CONFIG of a verb; its help names `example`."""
    text = f"YAML file, or the name of a recipe that ships with lidardistill, such as {example}."
    return typer.Argument(metavar="CONFIG", help=text, show_default=False)


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[a.b=value]...", help="Values that replace those of the file.", show_default=False
    ),
]
OutOption = Annotated[Path, typer.Option("--out", metavar="RUN", help="Run folder.", show_default=False)]
WeightsOption = Annotated[
    str,
    typer.Option(
        metavar="RUN|FILE|random",
        help="Initial weights: a pretraining run, an exported file, or random.",
        show_default=False,
    ),
]
DatarootOption = Annotated[
    Path, typer.Option(metavar="DIR", help="Root folder of the data set.", show_default=False)
]
VersionOption = Annotated[
    str, typer.Option(metavar="V", help="Version of nuScenes: v1.0-trainval or v1.0-mini.")
]
OptionalVersion = Annotated[
    str | None,
    typer.Option(metavar="V", help="nuScenes only; v1.0-trainval by default.", show_default=False),
]
KindOption = Annotated[str, typer.Option(metavar="KIND", help="Kind of data set: nuscenes or kitti.")]
MissingOption = Annotated[
    str,
    typer.Option(metavar="error|skip", help="If files of a scene are missing: stop, or leave out the scene."),
]


def parse_size(text: str) -> tuple[int, int]:
    """Parse `450x800` to (450, 800): height, width in pixels."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"--image-size {text!r}: expected HEIGHTxWIDTH in pixels, such as 450x800")
    return int(parts[0]), int(parts[1])
