"""Checks of the folders for compiled kernels, indexes and batches. They run before numba is imported."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lidardistill.doctor.finding import Finding

if TYPE_CHECKING:
    from lidardistill.tasks.pretrain.config import PretrainConfig

SHARED_MEMORY = Path("/dev/shm")

BATCHES_A_WORKER = 2
"""Batches that each loader process prepares ahead."""


def kernel_cache() -> Finding:
    """Check whether numba can write compiled kernels; without a writable folder no command works."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    package = Path(__file__).resolve().parents[1]
    if given:
        if can_write(Path(given)):
            return Finding("ok", f"compiled kernels are kept in NUMBA_CACHE_DIR={given}")
        return Finding(
            "error",
            f"NUMBA_CACHE_DIR={given} cannot be written, and compiled kernels are kept there: set it to a "
            "folder that can",
        )
    beside = package / "ops" / "__pycache__"
    places = [beside, user_kernel_cache()]
    for place in places:
        if can_write(place):
            return Finding("ok", f"compiled kernels are kept in {place}")
    return Finding(
        "error",
        f"compiled kernels can be kept neither beside the code ({beside}) nor in {places[1]}: set "
        "NUMBA_CACHE_DIR to a folder that can be written",
    )


def user_kernel_cache() -> Path:
    """Numba's kernel folder for the user, used if the folder of the code is read-only."""
    home = Path(os.path.expanduser("~"))
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "numba"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "numba"


def data_cache(dataroot: Path) -> Finding:
    """Check whether the index and other derived files of a data set can be written."""
    from lidardistill.datasets.files import cache_folders

    places = cache_folders(dataroot.expanduser().absolute())
    for number, place in enumerate(places):
        if can_write(place):
            why = "" if number == 0 else f" ({places[0]} cannot be written)"
            return Finding("ok", f"indexes are kept in {place}{why}")
    return Finding(
        "warning",
        f"neither {' nor '.join(map(str, places))} can be written: an index that is not there yet cannot be "
        "kept. Set LIDARDISTILL_CACHE to a folder that can",
    )


def shared_memory(config: PretrainConfig | None = None, free_bytes: int | None = None) -> Finding:
    """Check whether shared memory has room for the batches of the loader processes.

    Args:
        config: pretraining config, which sets the batch size; None takes the defaults of pretraining.
        free_bytes: free space in /dev/shm; None measures it.
    """
    if free_bytes is None:
        if not SHARED_MEMORY.is_dir():
            return Finding("ok", f"no {SHARED_MEMORY}: shared memory is not limited")
        free_bytes = shutil.disk_usage(SHARED_MEMORY).free
    batch, workers = batch_bytes(config)
    whose = f"batch of {config.name}" if config is not None else "batch of the default size"
    text = (
        f"{free_bytes / 1e6:.0f} MB free in {SHARED_MEMORY}, and a {whose} takes about {batch / 1e6:.0f} MB"
    )
    advice = "start docker with --ipc=host or --shm-size=16g, or set data.num_workers=0"
    if workers == 0:
        return Finding("ok", f"{text} (no loader processes)")
    if free_bytes < batch:
        return Finding("error" if config is not None else "warning", f"{text}: too little; {advice}")
    if free_bytes < batch * BATCHES_A_WORKER:
        return Finding(
            "warning", f"{text}, of which each of {workers} loader processes prepares two; {advice}"
        )
    return Finding("ok", text)


def batch_bytes(config: PretrainConfig | None) -> tuple[int, int]:
    """Bytes of a pretraining batch (pictures, superpixels, points), and number of loader processes."""
    from lidardistill.datasets.config import PairDataConfig
    from lidardistill.datasets.kinds import cameras

    data = PairDataConfig(dataroot="") if config is None else config.data
    height, width = data.augment.image_size
    pixel = 3 * 4 + 4 + 1  # float32 RGB, int32 superpixel, mask
    points = 35_000 * 4 * 10
    return data.batch_size * (cameras(data.kind) * height * width * pixel + points), data.num_workers


def can_write(folder: Path) -> bool:
    """Whether a folder is writable or, if it does not exist, can be created."""
    while not folder.exists():
        if folder.parent == folder:
            return False
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
