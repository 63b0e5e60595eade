"""`lidardistill superpixels`: compute superpixels ahead of training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lidardistill.atomic import write_json_atomic
from lidardistill.cli.options import DatarootOption, KindOption, MissingOption, OptionalVersion

FAILED_FILE = "failed.json"
"""File in the cache folder: images without superpixels, and the reasons."""


def run(
    dataroot: DatarootOption,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the cache.", show_default=False)],
    version: OptionalVersion = None,
    kind: KindOption = "nuscenes",
    missing: MissingOption = "error",
    num_superpixels: Annotated[int, typer.Option(help="Superpixels to ask for in each image.")] = 150,
    split: Annotated[
        str | None, typer.Option(help="Split, or .txt file with a scene a line; all keyframes by default.")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="exact (our kernels) or reference (scikit-image, slow).")
    ] = "exact",
    workers: Annotated[int, typer.Option(help="Number of processes.")] = 2,
) -> None:
    """Compute superpixels ahead of training. Optional; can be stopped and started again."""
    from lidardistill.config.io import validate
    from lidardistill.datasets.config import PairDataConfig
    from lidardistill.datasets.kinds import source_config
    from lidardistill.progress import Bar
    from lidardistill.tasks.pretrain.fill_superpixels import fill_cache

    superpixels = {"num_superpixels": num_superpixels, "preset": preset, "cache": str(out)}
    values = {
        **source_config(kind, dataroot, version, missing).model_dump(),
        "split": split or "all",
        "superpixels": superpixels,
    }
    config = validate(PairDataConfig, values, "options")
    with Bar("superpixels") as bar:
        counts = fill_cache(config, workers=workers, on_progress=bar.update)
    print(f"{out}: {counts}")
    failed = out / FAILED_FILE
    if counts.failed:
        write_json_atomic(failed, [{"path": path, "reason": reason} for path, reason in counts.failed])
        print(
            f"error: {len(counts.failed)} of {counts.total} images have no superpixels; the list is in "
            f"{failed}. Repair these files and run the same command again",
            file=sys.stderr,
        )
        raise typer.Exit(1)
    failed.unlink(missing_ok=True)
    options = " ".join(
        f"data.superpixels.{key}={superpixels[key]}" for key in ("cache", "preset", "num_superpixels")
    )
    print(f"use it with: {options}")
