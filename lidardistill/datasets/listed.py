"""Splits of one's own: a text file with a name a line."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

ALL = "all"
"""Name of the split that holds every keyframe of a data set."""


def is_list_file(split: str) -> bool:
    """Whether a split is named by a file: it ends in .txt, or a file of that name exists."""
    return split.endswith(".txt") or ("/" in split and Path(split).is_file())


def split_label(split: str) -> str:
    """A split's name as one part of a path: that of a list file without folder and ending."""
    return Path(split).stem if is_list_file(split) else split


def listed_names(path: str, known: Sequence[str], what: str) -> tuple[str, ...]:
    """Read a list file.

    Args:
        path: text file, a name a line; empty lines and what follows # are ignored.
        known: names that the data set has.
        what: they are, such as "scene", for messages.

    Returns:
        The names that the file lists, in the order of `known`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file lists no name or an unknown one; the message names the line and the nearest name.
    """
    try:
        lines = Path(path).expanduser().read_text().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected a text file with a {what} a line ({error})") from None
    except FileNotFoundError:
        raise FileNotFoundError(
            f"split {path}: no such file; expected a text file with a {what} a line"
        ) from None
    wanted = {
        name: number for number, line in enumerate(lines, 1) if (name := line.partition("#")[0].strip())
    }
    unknown = sorted(set(wanted) - set(known), key=lambda name: wanted[name])
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.0)
        raise ValueError(
            f"{path}, line {wanted[unknown[0]]}: no {what} {unknown[0]!r} in this data set ({len(unknown)} "
            f"of {len(wanted)} names are unknown){f'; the nearest is {near[0]!r}' if near else ''}"
        )
    if not wanted:
        raise ValueError(f"{path}: expected a {what} a line, got an empty list")
    return tuple(name for name in known if name in wanted)
