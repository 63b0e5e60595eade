"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigArgument = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="YAML file, such as configs/pretrain/demo.yaml.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[a.b=value]...", help="Override keys of the config.", show_default=False),
]
OutOption = Annotated[Path, typer.Option("--out", metavar="RUN", help="Run folder.", show_default=False)]
WeightsOption = Annotated[
    str,
    typer.Option(
        metavar="RUN|FILE|random", help="A pretraining run, an exported file, or random.", show_default=False
    ),
]
DatarootOption = Annotated[
    Path, typer.Option(metavar="DIR", help="Root of the data set.", show_default=False)
]
VersionOption = Annotated[str, typer.Option(metavar="V", help="Such as v1.0-trainval or v1.0-mini.")]
OptionalVersion = Annotated[
    str | None,
    typer.Option(
        metavar="V", help="nuScenes: such as v1.0-mini; v1.0-trainval by default.", show_default=False
    ),
]
KindOption = Annotated[str, typer.Option(metavar="KIND", help="Kind of data set: nuscenes or kitti.")]
MissingOption = Annotated[
    str,
    typer.Option(
        metavar="error|skip", help="skip leaves out the scenes whose files are not on disk; error stops."
    ),
]


def parse_size(text: str) -> tuple[int, int]:
    """`450x800` as (450, 800): height, width."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"--image-size {text!r}: expected HEIGHTxWIDTH in pixels, such as 450x800")
    return int(parts[0]), int(parts[1])
