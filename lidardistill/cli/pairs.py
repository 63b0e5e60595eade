"""`lidardistill pairs`: write the pairs of LiDAR points and pixels of one keyframe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lidardistill.cli.options import DatarootOption, KindOption, OptionalVersion


def run(
    dataroot: DatarootOption,
    sample: Annotated[
        str,
        typer.Option(metavar="TOKEN", help="Sample token; KITTI: frame, such as 000008.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE.npz", help="File to write.", show_default=False)],
    version: OptionalVersion = None,
    kind: KindOption = "nuscenes",
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the points on the images.")
    ] = None,
    visibility: Annotated[
        str, typer.Option(help="zbuffer drops points that the camera cannot see; none keeps them.")
    ] = "none",
) -> None:
    """Pair the LiDAR points of one keyframe with the pixels of its cameras."""
    import numpy as np

    from lidardistill.atomic import atomic_write
    from lidardistill.datasets.kinds import open_source, source_config
    from lidardistill.geometry import pair_points

    if visibility not in ("none", "zbuffer"):
        raise ValueError(f"--visibility {visibility!r}: expected none or zbuffer")
    test: Literal["none", "zbuffer"] = "zbuffer" if visibility == "zbuffer" else "none"
    source = open_source(source_config(kind, dataroot, version))
    frame = source.frame(source.row_of(sample))
    geometry = (frame.points, frame.lidar2cam, frame.cam2img, frame.image_size)
    pairing = pair_points(*geometry, distortion=frame.distortion, visibility=test)
    arrays = {**pairing._asdict(), "views": np.array(frame.channels)}
    with atomic_write(out) as stream:
        np.savez_compressed(stream, **arrays)
    print(
        f"{len(pairing.pairing_points)} pairs of {len(frame.points)} points and "
        f"{len(frame.channels)} cameras: {out}"
    )
    if test != "none":
        everything = len(pair_points(*geometry, distortion=frame.distortion).pairing_points)
        dropped = everything - len(pairing.pairing_points)
        print(f"hidden from the camera: {dropped} of {everything} pairs ({dropped / max(everything, 1):.1%})")
    if picture is not None:
        from lidardistill.data.images import read_image
        from lidardistill.report.draw.pairs import draw_pairs, save_png

        save_png(
            draw_pairs([read_image(path) for path in frame.image_paths], frame.channels, pairing), picture
        )
        print(f"picture: {picture}")
