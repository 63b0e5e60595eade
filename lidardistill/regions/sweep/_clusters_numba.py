"""DBSCAN on a grid: cells decide most neighbours, distances the rest. The slow twin is `_clusters_numpy`.

Cells are so small that two points of one cell are always neighbours. Therefore all points of a cell with
enough points are core points, the core points of a cell belong to one cluster, and clusters are unions of
cells; one close pair joins two cells. Cells are sorted keys: the later neighbours of a cell are 13 short
runs, found by pointers that only move forward. The earlier neighbours of a cell find it among their later
ones.
"""

from __future__ import annotations

import numpy as np
from numba import njit

MAX_CELLS = 1 << 20
_REACH = 2  # cells: a side is just over eps / 2
_WIDTH = 2 * _REACH + 1
_STEP_Y = MAX_CELLS + 2 * _REACH  # cells at the border of the grid have empty neighbours
_STEP_Z = _STEP_Y * _STEP_Y
_NUM_RUNS = _WIDTH * _WIDTH // 2 + 1  # rows of cells at dz > 0, rows at dz = 0 and dy > 0, and the cell's row


@njit(cache=True, nogil=True)
def cell_keys(cells):  # type: ignore[no-untyped-def]
    """Number cells (3, N) int64 x, y, z as (N,) int64, so that a neighbour is a constant step away."""
    keys = np.empty(cells.shape[1], np.int64)
    for i in range(keys.shape[0]):
        keys[i] = (cells[2, i] + _REACH) * _STEP_Z + (cells[1, i] + _REACH) * _STEP_Y + cells[0, i] + _REACH
    return keys


@njit(cache=True, nogil=True)
def dbscan(xyz, keys, order, eps, min_points, cluster, cluster_mask, core_mask):  # type: ignore[no-untyped-def]
    """Cluster points that are sorted by cell.

    Args:
        xyz: (N, 3) float64, metres, sorted.
        keys: (N,) int64 ascending cell of each.
        order: (N,) int64 row of each sorted point in the unsorted points.
        eps: radius, metres; cells are at most eps / sqrt(3) wide.
        min_points: neighbours of a core point, itself included.
        cluster: (N,) int32 zeros, filled in the unsorted order.
        cluster_mask: (N,) bool False, filled in the unsorted order.
        core_mask: (N,) bool False, filled in the unsorted order.

    Returns:
        The number of clusters.
    """
    num_points = keys.shape[0]
    squared = eps * eps
    start = np.empty(num_points + 1, np.int64)
    cell_key = np.empty(num_points, np.int64)
    num_cells = 0
    for i in range(num_points):
        if i == 0 or keys[i] != keys[i - 1]:
            start[num_cells] = i
            cell_key[num_cells] = keys[i]
            num_cells += 1
    start[num_cells] = num_points
    begin, end = _neighbor_runs(cell_key[:num_cells])

    # Pairs of cells with a pair of points within reach, or with enough points to postpone the search.
    near = np.empty((np.int64((end - begin).sum()), 2), np.int32)
    num_near = 0
    neighbors = np.empty(num_points, np.int64)
    for c in range(num_cells):
        neighbors[start[c] : start[c + 1]] = start[c + 1] - start[c]
    for c in range(num_cells):
        full = start[c + 1] - start[c] >= min_points
        for run in range(_NUM_RUNS):
            for d in range(begin[run, c], end[run, c]):
                meet = full and start[d + 1] - start[d] >= min_points
                if not meet:
                    for i in range(start[c], start[c + 1]):
                        for j in range(start[d], start[d + 1]):
                            if _squared_distance(xyz, i, j) <= squared:
                                neighbors[i] += 1
                                neighbors[j] += 1
                                meet = True
                if meet:
                    near[num_near, 0], near[num_near, 1] = c, d
                    num_near += 1
    core = neighbors >= min_points
    num_cores = np.zeros(num_cells, np.int64)
    for c in range(num_cells):
        for i in range(start[c], start[c + 1]):
            num_cores[c] += core[i]

    parent = np.arange(num_cells)
    for pair in range(num_near):
        c, d = near[pair]
        if num_cores[c] == 0 or num_cores[d] == 0:
            continue
        a, b = _root(parent, c), _root(parent, d)
        if a != b and _cores_meet(xyz, core, squared, start[c], start[c + 1], start[d], start[d + 1]):
            parent[max(a, b)] = min(a, b)

    place = np.empty(num_points, np.int64)
    cell = np.empty(num_points, np.int64)
    for c in range(num_cells):
        for i in range(start[c], start[c + 1]):
            place[order[i]] = i
            cell[i] = c
    number = np.full(num_cells, -1, np.int64)
    num_clusters = 0
    for row in range(num_points):
        i = place[row]
        if core[i]:
            root = _root(parent, cell[i])
            if number[root] < 0:
                number[root] = num_clusters
                num_clusters += 1
            cluster[row] = number[root]
            cluster_mask[row] = core_mask[row] = True

    best = np.full(num_points, num_clusters, np.int64)
    for c in range(num_cells):
        if 0 < num_cores[c] < start[c + 1] - start[c]:
            best[start[c] : start[c + 1]] = number[_root(parent, c)]
    for pair in range(num_near):
        c, d = near[pair]
        if num_cores[d] > 0 and num_cores[c] < start[c + 1] - start[c]:
            _reach_border(xyz, core, squared, number[_root(parent, d)], start, d, c, best)
        if num_cores[c] > 0 and num_cores[d] < start[d + 1] - start[d]:
            _reach_border(xyz, core, squared, number[_root(parent, c)], start, c, d, best)
    for i in range(num_points):
        if not core[i] and best[i] < num_clusters:
            cluster[order[i]] = best[i]
            cluster_mask[order[i]] = True
    return num_clusters


@njit(cache=True, nogil=True)
def _reach_border(xyz, core, squared, candidate, start, c, d, best):  # type: ignore[no-untyped-def]
    """Let border points of cell d near a core point of cell c join its cluster, if its number is smaller."""
    for i in range(start[d], start[d + 1]):
        if core[i] or best[i] <= candidate:
            continue
        for j in range(start[c], start[c + 1]):
            if core[j] and _squared_distance(xyz, i, j) <= squared:
                best[i] = candidate
                break


@njit(cache=True, nogil=True)
def _neighbor_runs(cell_key):  # type: ignore[no-untyped-def]
    """Return the half-open runs of later cells within reach, one for each (dz, dy): two (13, C) int32."""
    num_cells = cell_key.shape[0]
    begin = np.empty((_NUM_RUNS, num_cells), np.int32)
    end = np.empty((_NUM_RUNS, num_cells), np.int32)
    for run in range(_NUM_RUNS):
        dz, dy = divmod(run + _NUM_RUNS - 1, _WIDTH)
        step = (dz - _REACH) * _STEP_Z + (dy - _REACH) * _STEP_Y
        low = high = 0
        for c in range(num_cells):
            if run == 0:
                low = c + 1
            first = cell_key[c] + step - _REACH
            while low < num_cells and cell_key[low] < first:
                low += 1
            high = max(high, low)
            while high < num_cells and cell_key[high] <= first + 2 * _REACH:
                high += 1
            begin[run, c] = low
            end[run, c] = high
    return begin, end


@njit(cache=True, nogil=True)
def _cores_meet(xyz, core, squared, a_begin, a_end, b_begin, b_end):  # type: ignore[no-untyped-def]
    """Return whether a core point of one cell lies within reach of a core point of the other."""
    for i in range(a_begin, a_end):
        if not core[i]:
            continue
        for j in range(b_begin, b_end):
            if core[j] and _squared_distance(xyz, i, j) <= squared:
                return True
    return False


@njit(cache=True, nogil=True)
def _squared_distance(xyz, i, j):  # type: ignore[no-untyped-def]
    x, y, z = xyz[i, 0] - xyz[j, 0], xyz[i, 1] - xyz[j, 1], xyz[i, 2] - xyz[j, 2]
    return x * x + y * y + z * z


@njit(cache=True, nogil=True)
def _root(parent, cell):  # type: ignore[no-untyped-def]
    while parent[cell] != cell:
        parent[cell] = parent[parent[cell]]
        cell = parent[cell]
    return cell
