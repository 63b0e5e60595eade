"""Fill the superpixel cache of a data set ahead of training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lidardistill.data.images import image_key, read_image
from lidardistill.datasets.config import PairDataConfig
from lidardistill.datasets.kinds import open_source
from lidardistill.regions.superpixels.precompute import PrecomputeCounts, precompute
from lidardistill.regions.superpixels.source import SuperpixelSource
from lidardistill.tasks.rows import pretraining_rows


def fill_cache(
    config: PairDataConfig, *, workers: int = 2, on_progress: Callable[[int, int], None] | None = None
) -> PrecomputeCounts:
    """Compute the missing superpixels of a split and write them to the cache.

    Args:
        config: `superpixels.cache` names the folder; `split` may be `all`.
        workers: number of processes.
        on_progress: called with (images done, images in all).

    Returns:
        The counts, including unusable images.
    """
    source = SuperpixelSource.of(config.superpixels)
    if source.store is None:
        raise ValueError("data.superpixels.cache: expected the folder of the cache, got null")
    data = open_source(config)
    rows = pretraining_rows(config, data)
    images = [
        (image_key(path, data.dataroot), Path(path))
        for row in rows.tolist()
        for path in data.image_paths(row)
    ]
    return precompute(
        images,
        source.store,
        read_image=read_image,
        **config.superpixels.model_dump(exclude={"cache", "masks"}),
        workers=workers,
        on_progress=on_progress,
    )
