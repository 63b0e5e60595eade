"""`lidardistill synth`: write the embedded driving world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lidardistill.cli.options import parse_size


def run(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write.", show_default=False)],
    train_scenes: Annotated[int, typer.Option(help="Scenes of the split mini_train, at most 8.")] = 8,
    val_scenes: Annotated[int, typer.Option(help="Scenes of the split mini_val, at most 2.")] = 2,
    keyframes: Annotated[int, typer.Option(help="Keyframes of each scene.")] = 8,
    seed: Annotated[int, typer.Option(help="Random seed of the world.")] = 0,
    image_size: Annotated[str, typer.Option(metavar="HxW", help="Size of the camera pictures.")] = "450x800",
    palette: Annotated[str, typer.Option(help="natural, or overlapping: classes share colours.")] = "natural",
) -> None:
    """Write the embedded driving world as a nuScenes v1.0-mini folder."""
    from lidardistill.progress import Bar
    from lidardistill.synthetic.write.dataset import write_world

    with Bar("world", total=(train_scenes + val_scenes) * keyframes) as bar:
        write_world(
            out,
            train_scenes=train_scenes,
            val_scenes=val_scenes,
            keyframes=keyframes,
            seed=seed,
            image_size=parse_size(image_size),
            palette=palette,
            on_progress=bar.update,
        )
    print(f"{out}: a nuScenes v1.0-mini root; look at it with")
    print(f"  lidardistill doctor --dataroot {out} --version v1.0-mini")
