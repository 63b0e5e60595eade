"""Child processes that end with their parent, also if SIGKILL ends the parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext

_LOOK_EVERY_S = 1.0


class Leash:
    """A pipe from one process to its children. The children end when the process cuts the leash or dies.

    Attributes:
        held: the children's end of the pipe; pass it to `end_with_parent`.
    """

    def __init__(self, context: BaseContext) -> None:
        self.held, self._owned = context.Pipe(duplex=False)

    def cut(self) -> None:
        """End all processes that hold this leash, even if they hang."""
        self._owned.close()

    def __enter__(self) -> Leash:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self.held.close()


def end_with_parent(held: Connection | None = None) -> None:
    """Make this child process end within seconds of its parent, even if it hangs.

    The watched process is the one that requested this child, not the server that forked it (start method
    "forkserver"). The child ignores Ctrl-C; the parent handles it.

    Args:
        held: attribute of the parent's `Leash`; None watches the parent alone.
    """
    parent = multiprocessing.parent_process()
    if parent is None:  # not a child
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watched: list[int | Connection] = [parent.sentinel]
    if held is not None:
        watched.append(held)
    arguments = (watched, os.getppid())
    threading.Thread(target=_exit_after, args=arguments, name="end_with_parent", daemon=True).start()


def _exit_after(watched: list[int | Connection], parent_pid: int) -> None:
    # A forked sibling can hold the other end of a sentinel open. The parent's process id changes in that case
    # too.
    while not connection.wait(watched, timeout=_LOOK_EVERY_S) and os.getppid() == parent_pid:
        pass
    os._exit(1)
