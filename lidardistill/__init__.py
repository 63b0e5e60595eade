"""lidardistill: pretrain LiDAR backbones from cameras, without labels."""

import logging as _logging
import os as _os
import sys as _sys

__version__ = "0.1.0"


def _give_kernels_a_folder() -> None:
    """Set NUMBA_CACHE_DIR to a temporary folder if numba can write neither beside the code nor at home.

    numba raises an error without a remedy if it finds no folder. It reads NUMBA_CACHE_DIR at its import, so
    this function runs first.
    """
    here = _os.path.dirname(_os.path.abspath(__file__))
    home = _os.environ.get("XDG_CACHE_HOME") or _os.path.expanduser("~/.cache")
    if _os.environ.get("NUMBA_CACHE_DIR") or _can_write(_os.path.join(here, "__pycache__")):
        return
    if _can_write(_os.path.join(home, "numba")):
        return
    import tempfile

    try:
        folder = _private(_os.path.join(tempfile.gettempdir(), f"lidardistill-numba-{_os.getuid()}"))
        _os.environ["NUMBA_CACHE_DIR"] = folder or tempfile.mkdtemp(prefix="lidardistill-numba-")
    except (OSError, AttributeError) as error:
        kept = f"no temporary folder can be written either ({error})"
    else:
        kept = f"they are kept in {_os.environ['NUMBA_CACHE_DIR']}"
    _logging.getLogger(__name__).warning(
        "compiled kernels can be kept neither in %s nor in %s, so %s; set NUMBA_CACHE_DIR to a "
        "folder of your own",
        here,
        home,
        kept,
    )
    if "numba" in _sys.modules:
        _sys.modules["numba"].config.CACHE_DIR = _os.environ.get("NUMBA_CACHE_DIR", "")


def _can_write(folder: str) -> bool:
    """Return whether a folder can be written or created."""
    while not _os.path.isdir(folder):
        folder, last = _os.path.dirname(folder), folder
        if folder == last:
            return False
    return _os.access(folder, _os.W_OK | _os.X_OK)


def _private(folder: str) -> str | None:
    """Return the folder if only this user can write it, else None: numba executes the machine code in it."""
    try:
        _os.mkdir(folder, 0o700)
    except FileExistsError:
        found = _os.lstat(folder)
        if found.st_uid != _os.getuid() or found.st_mode & 0o170077 != 0o040000:
            return None
    return folder


_give_kernels_a_folder()
