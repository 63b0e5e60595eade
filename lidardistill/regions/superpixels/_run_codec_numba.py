"""Numba kernels of the row-run codec. Format: `run_codec`; slow twin: `_run_codec_numpy`."""

from __future__ import annotations

import numpy as np
from numba import njit

REACH = 7  # number of runs of the row above to search for a partner; any number up to 255 decodes


def encode_rows(labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Encode (H, W) int32, C-contiguous, to the five uint8 streams counts, ops, shifts, ids, gaps."""
    num_runs = _count_runs(labels)
    # A varint of a 32-bit number takes at most 5 bytes.
    buffers = (
        np.empty(5 * labels.shape[0], np.uint8),
        np.empty(num_runs, np.uint8),
        np.empty(5 * num_runs, np.uint8),
        np.empty(5 * num_runs, np.uint8),
        np.empty(5 * num_runs, np.uint8),
    )
    used = np.zeros(5, np.int64)
    _encode(labels, *buffers, used)
    return tuple(buffer[:length] for buffer, length in zip(buffers, used, strict=True))


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
    return bool(_decode((counts, ops, shifts, ids, gaps), width, top, left, out))


def decode_rows_at(
    streams: tuple[np.ndarray, ...],
    width: int,
    rows: np.ndarray,
    cols: np.ndarray,
    mirrored: bool,
    out: np.ndarray,
) -> bool:
    """Fill `out` (R, C) int32 with the ids at ascending rows (R,) and cols (C,); return False if bad."""
    return bool(_decode_at(streams, width, rows, cols, mirrored, out))


@njit(cache=True, nogil=True)
def _count_runs(labels: np.ndarray) -> int:
    height, width = labels.shape
    total = 0
    for row in range(height):
        for col in range(width):
            if col == 0 or labels[row, col] != labels[row, col - 1]:
                total += 1
    return total


@njit(cache=True, nogil=True)
def _put(buffer: np.ndarray, used: np.ndarray, stream: int, value: int) -> None:
    position = used[stream]
    while value >= 128:
        buffer[position] = (value & 127) | 128
        value >>= 7
        position += 1
    buffer[position] = value
    used[stream] = position + 1


@njit(cache=True, nogil=True)
def _fold(value: int) -> int:
    return (value << 1) ^ (value >> 63)


@njit(cache=True, nogil=True)
def _encode(
    labels: np.ndarray,
    counts: np.ndarray,
    ops: np.ndarray,
    shifts: np.ndarray,
    ids: np.ndarray,
    gaps: np.ndarray,
    used: np.ndarray,
) -> None:
    height, width = labels.shape
    begins = np.empty((2, width), np.int64)
    values = np.empty((2, width), np.int64)
    num_above = 0
    for row in range(height):
        above, here = (row + 1) & 1, row & 1
        num = 0
        for col in range(width):
            if col == 0 or labels[row, col] != labels[row, col - 1]:
                begins[here, num] = col
                values[here, num] = labels[row, col]
                num += 1
        _put(counts, used, 0, num)
        next_above = 0
        for run in range(num):
            partner = -1
            for candidate in range(next_above, min(num_above, next_above + REACH)):
                if values[above, candidate] == values[here, run]:
                    partner = candidate
                    break
            if partner < 0:
                ops[used[1]] = 0
                _put(ids, used, 3, _fold(values[here, run]))
                if run > 0:
                    _put(gaps, used, 4, begins[here, run] - begins[here, run - 1])
            else:
                ops[used[1]] = partner - next_above + 1
                if run > 0:
                    _put(shifts, used, 2, _fold(begins[here, run] - begins[above, partner]))
                next_above = partner + 1
            used[1] += 1
        num_above = num


@njit(cache=True, nogil=True)
def _get(buffer, position):  # type: ignore[no-untyped-def]
    """Return the value and the next position; -1 if the stream ends too early or the number is too long."""
    if position < buffer.shape[0] and buffer[position] < 128:  # the usual case
        return np.int64(buffer[position]), position + 1
    value = np.int64(0)
    for byte in range(5):
        if position + byte >= buffer.shape[0]:
            return value, -1
        part = np.int64(buffer[position + byte])
        value |= (part & 127) << (7 * byte)
        if part < 128:
            return value, position + byte + 1
    return value, -1


@njit(cache=True, nogil=True)
def _unfold(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


@njit(cache=True, nogil=True)
def _next_row(streams, at, width, above_begins, above_values, num_above, begins, values):  # type: ignore[no-untyped-def]
    """Read the runs of one row from the runs of the row above.

    Args:
        streams: counts, ops, shifts, ids, gaps, (n,) uint8 each.
        at: position in each of them.
        width: columns of the map.
        above_begins: (width + 1,) int64 first pixel of each run of the row above.
        above_values: (width + 1,) int64 their ids.
        num_above: number of runs of the row above.
        begins: (width + 1,) int64, filled with this row's first pixels, and `width` after the last.
        values: (width + 1,) int64, filled with this row's ids.

    Returns:
        The number of runs of this row (-1 for bad streams), and the positions after it.
    """
    counts, ops, shifts, ids, gaps = streams
    at_count, at_op, at_shift, at_id, at_gap = at
    num, at_count = _get(counts, at_count)
    if at_count < 0 or num > width or (num == 0 and width > 0) or at_op + num > ops.shape[0]:
        return -1, at
    next_above, begin, before = 0, 0, -1
    for run in range(num):
        op = np.int64(ops[at_op + run])
        if op == 0:
            value, at_id = _get(ids, at_id)
            if at_id < 0:
                return -1, at
            value = _unfold(value)
            if value < -2147483648 or value > 2147483647:
                return -1, at
            values[run] = value
            if run > 0:
                gap, at_gap = _get(gaps, at_gap)
                if at_gap < 0:
                    return -1, at
                begin = before + gap
        else:
            partner = next_above + op - 1
            if partner >= num_above:
                return -1, at
            values[run] = above_values[partner]
            if run > 0:
                shift, at_shift = _get(shifts, at_shift)
                if at_shift < 0:
                    return -1, at
                begin = above_begins[partner] + _unfold(shift)
            next_above = partner + 1
        if begin >= width or begin <= before:
            return -1, at
        begins[run] = before = begin
    begins[num] = width
    return num, (at_count, at_op + num, at_shift, at_id, at_gap)


@njit(cache=True, nogil=True)
def _decode(streams, width, top, left, out):  # type: ignore[no-untyped-def]
    rows, cols = out.shape
    above_begins, begins = np.empty(width + 1, np.int64), np.empty(width + 1, np.int64)
    above_values, values = np.empty(width + 1, np.int64), np.empty(width + 1, np.int64)
    at = (0, 0, 0, 0, 0)
    num = 0
    for row in range(top + rows):
        above_begins, begins = begins, above_begins
        above_values, values = values, above_values
        num, at = _next_row(streams, at, width, above_begins, above_values, num, begins, values)
        if num < 0:
            return False
        if row >= top:
            for run in range(num):
                first, last = max(begins[run] - left, 0), min(begins[run + 1] - left, cols)
                if first < last:
                    out[row - top, first:last] = values[run]
    return True


@njit(cache=True, nogil=True)
def _decode_at(streams, width, rows, cols, mirrored, out):  # type: ignore[no-untyped-def]
    # A run of the map is a run of the result: the places inside it.
    places_before = np.empty(width + 1, np.int64)
    place = 0
    for col in range(width + 1):
        while place < cols.size and cols[place] < col:
            place += 1
        places_before[col] = place
    above_begins, begins = np.empty(width + 1, np.int64), np.empty(width + 1, np.int64)
    above_values, values = np.empty(width + 1, np.int64), np.empty(width + 1, np.int64)
    at = (0, 0, 0, 0, 0)
    num, wanted = 0, 0
    for row in range(rows[-1] + 1):
        above_begins, begins = begins, above_begins
        above_values, values = values, above_values
        num, at = _next_row(streams, at, width, above_begins, above_values, num, begins, values)
        if num < 0:
            return False
        while wanted < rows.size and rows[wanted] == row:
            for run in range(num):
                first, last = places_before[begins[run]], places_before[begins[run + 1]]
                if mirrored:
                    first, last = cols.size - last, cols.size - first
                value = np.int32(values[run])
                for c in range(first, last):
                    out[wanted, c] = value
            wanted += 1
    return True
