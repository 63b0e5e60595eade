"""A short pretraining on noise that fills numba's cache before the demo needs the kernels.

Compilation takes longer than rendering the world's first scene and needs no world, so it runs beside the
renderer.
"""

from __future__ import annotations

import logging
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lidardistill.child_processes import end_with_parent
from lidardistill.one_thread import one_thread_for_children
from lidardistill.synthetic.write.dataset import write_world
from lidardistill.synthetic.write.noise import record_noise


@contextmanager
def rehearsal() -> Iterator[None]:
    """Rehearse in a separate process while the block runs, and wait for it at the end.

    Errors are ignored here: the same error will be raised by the real pretraining.
    """
    with tempfile.TemporaryDirectory(prefix="lidardistill-rehearsal-") as folder:
        process = multiprocessing.get_context("spawn").Process(
            target=_quietly, args=(rehearse, Path(folder)), daemon=True
        )
        with one_thread_for_children():
            process.start()
        try:
            yield
            process.join()
        finally:
            process.kill()  # no harm to one that has ended
            process.join()


def rehearse(folder: Path) -> None:
    """Compute superpixels and teacher features and run some steps on a world of noise, in an empty folder."""
    # Imported here, because torch is slow to import and the rendering process does not need it.
    from lidardistill.demo.experiment import pretrain_config
    from lidardistill.tasks.pretrain.run import pretrain

    world = write_world(
        folder / "world", train_scenes=1, val_scenes=0, keyframes=1, workers=1, record=record_noise
    )
    few = getattr(pretrain_config(world, folder, "pretrained", 0).schedule, "warmup_steps", 0) + 1
    config = pretrain_config(world, folder, "pretrained", 0, max_steps=few)
    pretrain(config, folder / "run", progress=False)


def _quietly(play: Callable[[Path], None], folder: Path) -> None:
    end_with_parent()
    import torch

    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    with suppress(Exception):
        play(folder)
