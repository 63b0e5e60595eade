"""Processes side by side are faster with one thread each than with threads that share cores."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@contextlib.contextmanager
def one_thread_for_children() -> Iterator[None]:
    """Processes started inside run every library on one thread; libraries read this when they are loaded."""
    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(dict.fromkeys(_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
