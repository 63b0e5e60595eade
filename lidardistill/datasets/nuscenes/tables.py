"""Reading nuScenes' JSON tables without the devkit. Large tables are read in pieces, never as a whole."""

from __future__ import annotations

import difflib
import gc
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import compress
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import orjson

LIDAR = "LIDAR_TOP"
CAMERAS: tuple[str, ...] = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_RIGHT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_FRONT_LEFT",
)
"""Camera names, clockwise from the front: SLidR's order, and the order of every per-view array."""

REQUIRED = ("scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor")
"""Tables required for the index."""

OPTIONAL = ("lidarseg",)
"""Optional tables; lidarseg contains names of label files, but no labels."""

_CHUNK_BYTES = 1 << 20

_LONGEST_TOKEN = 200
"""Longest token, in bytes: file systems allow 255, and file names add a suffix to the token."""

_PATH_MARKS = re.compile(r"[/\\]|^[A-Za-z]:")

Row = dict[str, Any]

Keep = Callable[[bytes, list[bytes]], Iterable[bool]]
"""Filter of rows to parse. Arguments: the bytes of many rows, and the same bytes split into rows without
their closing braces. Returns a truth value for each row. It may keep too many rows; the caller must check."""


def expected_tree(dataroot: Path, version: str) -> str:
    """Required folders of a nuScenes root, as text for an error message."""
    tables = ", ".join(f"{name}.json" for name in REQUIRED)
    return (
        f"Expected tree:\n"
        f"  {dataroot}/\n"
        f"    {version}/   {tables}  (and lidarseg.json, where labels are wanted)\n"
        f"    samples/   LIDAR_TOP/*.pcd.bin, CAM_FRONT/*.jpg and the other five cameras\n"
        f"    sweeps/   LIDAR_TOP/*.pcd.bin  (optional)\n"
        f"    lidarseg/{version}/*.bin  (optional)\n"
        f"datasets/README.md says how to obtain nuScenes; `lidardistill synth --out DIR` writes a small root."
    )


def find_tables(dataroot: Path, version: str) -> Path:
    """Find the folder of a version's tables.

    Raises:
        FileNotFoundError: the root does not exist, or all or some of its tables are missing.
        ValueError: the root has other versions, but not this one.
    """
    folder = dataroot / version
    if not dataroot.is_dir():
        raise FileNotFoundError(f"dataroot {dataroot} is not a folder. {expected_tree(dataroot, version)}")
    if not folder.is_dir():
        present = sorted(path.parent.name for path in dataroot.glob("*/sample_data.json"))
        if not present:
            raise FileNotFoundError(
                f"dataroot {dataroot} holds no tables. {expected_tree(dataroot, version)}"
            )
        near = difflib.get_close_matches(version, present, n=1, cutoff=0.0)
        raise ValueError(
            f"unknown version {version!r}: {dataroot} holds {', '.join(present)}. Did you mean {near[0]!r}?"
        )
    missing = [f"{name}.json" for name in REQUIRED if not (folder / f"{name}.json").is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}. {expected_tree(dataroot, version)}")
    return folder


def read_table(folder: Path, name: str) -> list[Row]:
    """Read a small table as a whole.

    Returns:
        Rows, in file order.

    Raises:
        ValueError: the table is not a JSON list of objects.
    """
    path = folder / f"{name}.json"
    try:
        rows = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ValueError(f"table {path} is not JSON: {error}. Copy or download the tables again.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"table {path}: expected a JSON list of objects. Copy or download the tables again.")
    return rows


def field_of(row: Row, key: str, table: str) -> Any:
    """Field of a row, of any type; raises ValueError that names table, row and field if it is missing."""
    try:
        return row[key]
    except KeyError:
        raise ValueError(
            f"table {table}.json, row {_name_of(row)}: field {key!r} is missing. Expected the nuScenes "
            f"schema; copy or download the tables again."
        ) from None


def text_of(row: Row, key: str, table: str) -> str:
    """String field: a text, or a key into another table; raises ValueError for other types."""
    value = field_of(row, key, table)
    if type(value) is not str:
        raise wrong_field(row, key, table, "a string")
    return value


def token_of(row: Row, key: str, table: str) -> str:
    """Token field; raises ValueError if the token is unsafe as a part of a file name."""
    value = text_of(row, key, table)
    if not is_file_name(value):
        raise wrong_field(
            row,
            key,
            table,
            "a token that can be a file name (no / or \\, no control character, at most 200 bytes)",
        )
    return value


def integer_of(row: Row, key: str, table: str, *, least: int = -(1 << 63), most: int = (1 << 63) - 1) -> int:
    """Integer field (1.0 is valid, true is not) in least..most; raises ValueError for other values."""
    value = field_of(row, key, table)
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not least <= value <= most:
        bounds = f" of at least {least}" if least > -(1 << 63) else ""
        raise wrong_field(row, key, table, f"a whole number{bounds}")
    return value


def flag_of(row: Row, key: str, table: str) -> bool:
    """Boolean field, true or false; raises ValueError for other values."""
    value = field_of(row, key, table)
    if type(value) is not bool:
        raise wrong_field(row, key, table, "true or false")
    return value


def list_of(row: Row, key: str, table: str) -> list[Any]:
    """List field; raises ValueError for other types."""
    value = field_of(row, key, table)
    if type(value) is not list:
        raise wrong_field(row, key, table, "a list")
    return value


def as_numbers(value: Any) -> np.ndarray:
    """Nested list of numbers as float64; raises ValueError for null, text, booleans and ragged lists."""
    values = np.array(value)
    if values.dtype.kind not in "iuf":
        raise ValueError("not a list of numbers")
    return values.astype(np.float64)


def wrong_field(row: Row, key: str, table: str, expected: str) -> ValueError:
    """Error for a field of a wrong type or value; names table, row, field, and expected and found value."""
    text = orjson.dumps(row[key]).decode()
    got = text if len(text) <= 80 else f"{text[:77]}..."
    return ValueError(
        f"table {table}.json, row {_name_of(row)}: field {key!r}: expected {expected}, got {got}. Correct "
        "the table."
    )


def is_file_name(text: str) -> bool:
    """Whether a text is safe as exactly one part of a path."""
    return (
        0 < len(text.encode()) <= _LONGEST_TOKEN
        and text not in (".", "..")
        and text.isprintable()
        and not _PATH_MARKS.search(text)
    )


def _name_of(row: Row) -> str:
    token = row.get("token", "(without token)")
    return (
        token
        if type(token) is str and token.isprintable() and len(token) <= _LONGEST_TOKEN
        else repr(token)[:80]
    )


def stream_table(folder: Path, name: str, keep: Keep, *, chunk_bytes: int = _CHUNK_BYTES) -> Iterator[Row]:
    """Read a large table in pieces and parse only some of its rows.

    nuScenes' rows are flat objects, so every `}` ends a row. Other tables raise ValueError, because their
    pieces are not valid JSON.

    Args:
        folder: folder of the tables.
        name: table name.
        keep: filter of the rows to parse; see `Keep`.
        chunk_bytes: bytes of each piece.

    Yields:
        Kept rows, in file order.

    Raises:
        ValueError: the table is truncated, or is not a JSON list of flat objects.
    """
    path = folder / f"{name}.json"
    rest = b""
    first = True
    with path.open("rb") as stream:
        while chunk := stream.read(chunk_bytes):
            text = rest + chunk
            end = text.rfind(b"}")
            if end < 0:
                rest = text
                continue
            body, rest = text[:end], text[end + 1 :]
            if first and not body.lstrip().startswith(b"["):
                raise _malformed(path, "it does not start with [")
            first = False
            rows = body.split(b"}")
            wanted = [row[row.find(b"{") :] for row in compress(rows, keep(body, rows))]
            if not wanted:
                continue
            try:
                yield from orjson.loads(b"[" + b"},".join(wanted) + b"}]")
            except orjson.JSONDecodeError as error:
                raise _malformed(path, str(error)) from error
    last = rest.strip()
    if last != b"]" and not (first and last[:1] == b"[" and last[1:].strip() == b"]"):
        raise _malformed(path, "it ends in the middle of a row")


@contextmanager
def collector_paused() -> Iterator[None]:
    """Disable the garbage collector. The tables create millions of short-lived rows without cycles; the
    search for cycles would take a fifth of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def field_values(pattern: re.Pattern[bytes], body: bytes, rows: list[bytes]) -> list[bytes] | None:
    """Values of one field in many rows, found by a pattern without parsing the rows.

    Args:
        pattern: matches the field once in each row; its only group is the value.
        body: bytes of the rows.
        rows: the same bytes, split into rows.

    Returns:
        A value for each row; None if the pattern is ambiguous; the caller must then parse the rows.
    """
    values = pattern.findall(body)
    return values if len(values) == len(rows) else None


def _malformed(path: Path, why: str) -> ValueError:
    return ValueError(
        f"table {path} cannot be read: {why}. Expected a JSON list of flat objects, as nuScenes writes it. "
        f"Copy or download the tables again."
    )


def filename_of(row: Row, table: str, key: str = "filename") -> str:
    """File name field, relative to the dataroot; raises ValueError, see `inside_root`."""
    return inside_root(text_of(row, key, table), table, _name_of(row))


def inside_root(filename: str, table: str, token: str) -> str:
    """Check that a file name of a table stays inside the dataroot.

    Symbolic links are not checked, because many users keep the sensor folders on another disk.

    Args:
        filename: file name in the table, relative to the dataroot.
        table: name of the table, for the message.
        token: token of the row, for the message.

    Returns:
        The same name.

    Raises:
        ValueError: the name is empty, absolute, or contains `..`.
    """
    if not filename or filename[0] in "/\\" or ":" in filename[:3] or "\0" in filename or ".." in filename:
        parts = PurePosixPath(filename.replace("\\", "/")).parts
        if not parts or filename[0] in "/\\" or ":" in filename[:3] or "\0" in filename or ".." in parts:
            raise ValueError(
                f"table {table}.json, row {token}: filename {filename!r} points outside the dataroot. "
                "Expected a relative path such as samples/LIDAR_TOP/scan.pcd.bin. Do not use tables from a "
                "source that "
                f"you do not trust."
            )
    return filename
