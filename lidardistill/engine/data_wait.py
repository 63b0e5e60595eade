"""Advice for a loader that is slower than the device."""

from __future__ import annotations

import os


def data_wait_advice(
    num_workers: int, *, superpixels_ready: bool = True, images_ready: bool = True, cores: int | None = None
) -> str:
    """Remedies that the run does not use yet, the cheapest first.

    Args:
        num_workers: worker processes of the loader.
        superpixels_ready: superpixels are cached or read from files, or the run has none.
        images_ready: decoded images are cached, or the run has none.
        cores: CPU cores of this process; None asks the system.

    Returns:
        Half a sentence that names keys of the config.
    """
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    steps = []
    if not superpixels_ready:
        steps.append(
            "set data.superpixels.cache to a folder and fill it with `lidardistill superpixels`, so that "
            "none are computed while training"
        )
    if num_workers < cores:
        steps.append(f"raise data.num_workers, now {num_workers}, towards the {cores} cores here")
    if not images_ready:
        steps.append(
            "set data.images.scale=2 and data.images.cache to a folder on a fast disk, so that JPEGs are "
            "decoded once (a change of the augmentation, and of the run)"
        )
    if not steps:
        steps.append(
            f"all {cores} cores are in use and the caches are set: look for a slow disk, or ask for more "
            "cores a GPU"
        )
    return "; ".join(steps)
