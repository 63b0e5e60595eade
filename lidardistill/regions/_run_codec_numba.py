"""Numba kernels of the row-run codec; the format stands in `run_codec`, the slow twin in `_run_codec_numpy`."""

from __future__ import annotations

import numpy as np
from numba import njit

REACH = 7  # runs of the row above among which a partner is sought; any number up to 255 decodes


def encode_rows(labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """(H, W) int32, C-contiguous, to the five uint8 streams counts, ops, shifts, ids, gaps."""
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
    """Fill `out` (h, w) int32 with the window at (top, left) of a map `width` wide; False if the streams are bad."""
    return bool(_decode(counts, ops, shifts, ids, gaps, width, top, left, out))


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
def _get(buffer: np.ndarray, position: int) -> tuple[int, int]:
    """Value and position after it; position -1 where the stream ends too early or the number is too long."""
    value = 0
    for byte in range(5):
        if position + byte >= buffer.shape[0]:
            return value, -1
        part = int(buffer[position + byte])
        value |= (part & 127) << (7 * byte)
        if part < 128:
            return value, position + byte + 1
    return value, -1


@njit(cache=True, nogil=True)
def _unfold(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


@njit(cache=True, nogil=True)
def _decode(
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
    rows, cols = out.shape
    begins = np.empty((2, width + 1), np.int64)
    values = np.empty((2, width + 1), np.int64)
    num_above = 0
    at_count, at_op, at_shift, at_id, at_gap = 0, 0, 0, 0, 0
    for row in range(top + rows):
        above, here = (row + 1) & 1, row & 1
        num, at_count = _get(counts, at_count)
        if at_count < 0 or num > width or (num == 0 and width > 0) or at_op + num > ops.shape[0]:
            return False
        next_above = 0
        for run in range(num):
            op = int(ops[at_op])
            at_op += 1
            begin = 0
            if op == 0:
                value, at_id = _get(ids, at_id)
                if at_id < 0:
                    return False
                value = _unfold(value)
                if value < -2147483648 or value > 2147483647:
                    return False
                values[here, run] = value
                if run > 0:
                    gap, at_gap = _get(gaps, at_gap)
                    if at_gap < 0:
                        return False
                    begin = begins[here, run - 1] + gap
            else:
                partner = next_above + op - 1
                if partner >= num_above:
                    return False
                values[here, run] = values[above, partner]
                if run > 0:
                    shift, at_shift = _get(shifts, at_shift)
                    if at_shift < 0:
                        return False
                    begin = begins[above, partner] + _unfold(shift)
                next_above = partner + 1
            if begin >= width or (run > 0 and begin <= begins[here, run - 1]):
                return False
            begins[here, run] = begin
        begins[here, num] = width
        num_above = num
        if row >= top:
            for run in range(num):
                first = max(begins[here, run] - left, 0)
                last = min(begins[here, run + 1] - left, cols)
                if first < last:
                    out[row - top, first:last] = values[here, run]
    return True
