"""Fill a superpixel store for many images with several processes; the work can be interrupted at any time.

Images with an entry are skipped, so the same call continues after an interruption. Several runs, on one
machine or on many with a shared folder, divide the work: each begins at another image and skips existing
entries.
"""

from __future__ import annotations

import multiprocessing
import pickle
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from lidardistill.child_processes import Leash, end_with_parent
from lidardistill.regions.slic.slic import check_slic_arguments, warm_up
from lidardistill.regions.superpixels.scaling import check_factor, warm_up_scaling
from lidardistill.regions.superpixels.source import segment
from lidardistill.regions.superpixels.store import SuperpixelStore, fingerprint

ReadImage = Callable[[Path], np.ndarray]


@dataclass
class PrecomputeCounts:
    """Progress of `precompute`.

    Attributes:
        total: requested images.
        computed: entries written by this run.
        skipped: images that already had an entry.
        failed: (path, reason) of unusable images.
        stored_bytes: size of the entries written by this run.
    """

    total: int
    computed: int = 0
    skipped: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    stored_bytes: int = 0

    @property
    def done(self) -> int:
        return self.computed + self.skipped + len(self.failed)

    def __str__(self) -> str:
        text = (
            f"{self.done} of {self.total} images: {self.computed} computed "
            f"({self.stored_bytes / 1e6:.1f} MB), {self.skipped} were there, {len(self.failed)} failed"
        )
        shown = [f"\n  {path}: {reason}" for path, reason in self.failed[:10]]
        return text + "".join(shown) + ("\n  ..." if len(self.failed) > len(shown) else "")


@dataclass(frozen=True)
class _Job:
    """All arguments of a worker."""

    store: SuperpixelStore
    read_image: ReadImage
    num_superpixels: int
    compactness: float
    sigma: float
    preset: str
    scale: int


def precompute(
    images: Sequence[tuple[str, Path]],
    store: SuperpixelStore,
    *,
    read_image: ReadImage,
    num_superpixels: int = 150,
    compactness: float = 6.0,
    sigma: float = 3.0,
    preset: str = "exact",
    scale: int = 1,
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> PrecomputeCounts:
    """Compute the superpixels that a store lacks.

    Args:
        images: (key, path) of each image; `SuperpixelSource` looks up the same keys.
        store: its key must belong to these parameters (`store.recipe_key`, or a digest of a config).
        read_image: reads (H, W, 3) uint8 RGB from a path. With workers it must be importable (no lambda).
        num_superpixels, compactness, sigma, preset, scale: see `source.segment`.
        workers: processes; 0 computes in this process.
        on_progress: called in this process after every image with (images done, images in all).

    Returns:
        The counts. An image that cannot be read or segmented is listed in `failed`; the run continues.

    Raises:
        ValueError: a parameter is out of range, a key occurs twice, or `read_image` cannot be pickled.
        OSError: the store cannot be written; the message has the path. Existing entries stay.
        RuntimeError: a worker died. Call again to continue.
    """
    check_slic_arguments(num_superpixels, compactness, sigma, preset)
    check_factor(scale)
    if len({key for key, _ in images}) != len(images):
        raise ValueError(
            f"precompute: {len(images)} images, but only {len({key for key, _ in images})} different keys"
        )
    if workers < 0:
        raise ValueError(f"precompute: workers must be 0 or more, got {workers}")
    job = _Job(store, read_image, num_superpixels, compactness, sigma, preset, scale)
    counts = PrecomputeCounts(total=len(images))
    store.remove_temporary()
    warm_up(preset)  # here, not in every worker
    if scale > 1:
        warm_up_scaling()
    # A random first image lets parallel runs find each other's results instead of repeating the work. The
    # order does not change any entry.
    begin = secrets.randbelow(len(images)) if images else 0
    order = [*images[begin:], *images[:begin]]
    for outcome in _outcomes(job, order, min(workers, len(order))):
        if outcome.failure is not None:
            counts.failed.append((outcome.path, outcome.failure))
        elif outcome.stored_bytes == 0:
            counts.skipped += 1
        else:
            counts.computed += 1
            counts.stored_bytes += outcome.stored_bytes
        if on_progress is not None:
            on_progress(counts.done, counts.total)
    return counts


@dataclass(frozen=True)
class _Outcome:
    """Result for one image: the reason of a failure, an entry of `stored_bytes`, or neither (skipped)."""

    path: str
    failure: str | None = None
    stored_bytes: int = 0


def _make_entry(job: _Job, key: str, path: Path) -> _Outcome:
    if job.store.has(key):
        return _Outcome(str(path))
    try:
        image = job.read_image(path)
        labels = segment(image, job.num_superpixels, job.compactness, job.sigma, job.preset, job.scale)
    except (OSError, ValueError) as error:
        return _Outcome(str(path), failure=f"{type(error).__name__}: {error}")
    # Outside the try: an unwritable store affects every image and ends the run.
    entry = job.store.put(key, labels, made_from=fingerprint(image))
    return _Outcome(str(path), stored_bytes=entry.stat().st_size)


def _outcomes(job: _Job, order: Sequence[tuple[str, Path]], workers: int) -> Iterator[_Outcome]:
    if workers == 0:
        for key, path in order:
            yield _make_entry(job, key, path)
        return
    try:
        pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"precompute: read_image cannot travel to worker processes ({error}); "
            "pass a function of a module, or workers=0"
        ) from error
    # Spawned, not forked: a fork inherits the locks of the caller's threads.
    context = multiprocessing.get_context("spawn")
    with (
        Leash(context) as leash,
        ProcessPoolExecutor(workers, context, initializer=end_with_parent, initargs=(leash.held,)) as pool,
    ):
        try:
            waiting = iter(order)
            # A few at a time: a data set has hundreds of thousands of images.
            running = {pool.submit(_make_entry, job, *image) for image in islice(waiting, 2 * workers)}
            while running:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(_make_entry, job, *image) for image in islice(waiting, len(finished))}
                for future in finished:
                    yield future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"precompute: a worker process died (out of memory?); the entries in {job.store.root} are "
                "whole: call again to continue, with fewer workers if memory is short"
            ) from error
        except BaseException:
            leash.cut()  # unfinished entries are temporary files
            raise
