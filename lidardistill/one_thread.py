"""One thread for each child process: parallel processes are faster if their threads do not share cores."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
"""Environment variables that set the number of threads; libraries read them at import."""


@contextlib.contextmanager
def one_thread_for_children() -> Iterator[None]:
    """Limit all libraries to one thread in the processes that start inside the block."""
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
