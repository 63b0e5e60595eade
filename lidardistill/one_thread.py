"""Processes side by side are faster with one thread each than with threads that share cores."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
"""What libraries read of the environment when they are loaded."""


@contextlib.contextmanager
def one_thread_for_children() -> Iterator[None]:
    """Processes started inside run every library on one thread."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
