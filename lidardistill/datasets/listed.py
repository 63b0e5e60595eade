"""Custom splits: a text file with one name in each line."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

ALL = "all"
"""Name of the split with all keyframes of a data set."""


def is_list_file(split: str) -> bool:
    """Whether a split is a list file: it ends in .txt, or it is a path with a slash to an existing file."""
    return split.endswith(".txt") or ("/" in split and Path(split).is_file())


def split_label(split: str) -> str:
    """Name of a split for use in a path; for a list file, its name without folder and extension."""
    return Path(split).stem if is_list_file(split) else split


def listed_names(path: str, known: Sequence[str], what: str) -> tuple[str, ...]:
    """Read a list file.

    Args:
        path: text file with one name in each line; empty lines and text after # are ignored.
        known: names in the data set.
        what: noun for messages, such as "scene".

    Returns:
        The listed names, in the order of `known`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty or has an unknown name; the message names the line and the nearest name.
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
