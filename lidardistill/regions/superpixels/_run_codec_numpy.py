"""Slow twin of the row-run codec's kernels: Python lists and numpy, with the same bytes and maps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lidardistill.regions.superpixels._run_codec_numba import REACH


def encode_rows(labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Encode (H, W) int32 to the five uint8 streams counts, ops, shifts, ids, gaps."""
    counts, ops, shifts, ids, gaps = bytearray(), bytearray(), bytearray(), bytearray(), bytearray()
    above: list[tuple[int, int]] = []
    for row in labels:
        here = _runs(row)
        counts += _varint(len(here))
        next_above = 0
        for index, (begin, value) in enumerate(here):
            behind = [other for _, other in above[next_above : next_above + REACH]]
            if value in behind:
                partner = next_above + behind.index(value)
                ops.append(partner - next_above + 1)
                if index > 0:
                    shifts += _varint(_fold(begin - above[partner][0]))
                next_above = partner + 1
            else:
                ops.append(0)
                ids += _varint(_fold(value))
                if index > 0:
                    gaps += _varint(begin - here[index - 1][0])
        above = here
    return tuple(np.frombuffer(bytes(s), dtype=np.uint8) for s in (counts, ops, shifts, ids, gaps))


def decode_rows(
    counts: np.ndarray,
    ops: np.ndarray,
    shifts: np.ndarray,
    ids: np.ndarray,
    gaps: np.ndarray,
    width: int,
    top: int,
    left: int,
    out: np.ndarray,
) -> bool:
    """Fill `out` (h, w) int32 with the window at (top, left) of a map; return False for bad streams."""
    count_of, shift_of, id_of, gap_of = (_varints(stream) for stream in (counts, shifts, ids, gaps))
    op_of = iter(ops.tolist())
    rows, cols = out.shape
    above: list[tuple[int, int]] = []
    try:
        for row in range(top + rows):
            here: list[tuple[int, int]] = []
            next_above = 0
            for index in range(next(count_of)):
                op = next(op_of)
                if op == 0:
                    value = _unfold(next(id_of))
                    if not -(2**31) <= value < 2**31:
                        return False
                    begin = 0 if index == 0 else here[-1][0] + next(gap_of)
                else:
                    partner = next_above + op - 1
                    value = above[partner][1]
                    begin = 0 if index == 0 else above[partner][0] + _unfold(next(shift_of))
                    next_above = partner + 1
                here.append((begin, value))
            edges = np.array([begin for begin, _ in here] + [width])
            if (np.diff(edges) <= 0).any() or edges[0] != 0:
                return False
            if row >= top:
                full = np.repeat(np.array([value for _, value in here], dtype=np.int32), np.diff(edges))
                out[row - top] = full[left : left + cols]
            above = here
    except (StopIteration, IndexError):
        return False
    return True


def decode_rows_at(
    streams: tuple[np.ndarray, ...],
    width: int,
    rows: np.ndarray,
    cols: np.ndarray,
    mirrored: bool,
    out: np.ndarray,
) -> bool:
    """Like `_run_codec_numba.decode_rows_at`: decode the map down to the last row, then index it."""
    whole = np.empty((int(rows[-1]) + 1, width), np.int32)
    counts, ops, shifts, ids, gaps = streams
    good = decode_rows(counts, ops, shifts, ids, gaps, width, 0, 0, whole)
    found = whole[rows[:, None], cols[None, :]]
    out[:] = found[:, ::-1] if mirrored else found
    return good


def _runs(row: np.ndarray) -> list[tuple[int, int]]:
    begins = np.flatnonzero(np.concatenate([np.ones(min(1, len(row)), bool), row[1:] != row[:-1]]))
    return [(int(begin), int(row[begin])) for begin in begins]


def _fold(value: int) -> int:
    return 2 * value if value >= 0 else -2 * value - 1


def _unfold(value: int) -> int:
    return -(value + 1) // 2 if value % 2 else value // 2


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    out.append(value)
    return bytes(out)


def _varints(stream: np.ndarray) -> Iterator[int]:
    value, shift = 0, 0
    for byte in stream.tolist():
        if shift > 28:  # five bytes hold every possible number
            raise IndexError("varint too long")
        value += (byte % 128) << shift
        shift += 7
        if byte < 128:
            yield value
            value, shift = 0, 0
