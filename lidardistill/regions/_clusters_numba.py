"""DBSCAN on a grid: distances are taken only where a cell alone cannot tell. The twin is `_clusters_numpy`.

Cells are so small that two points of one are always neighbours. A cell with enough points is therefore all core, the
cores of a cell are always of one cluster, and clusters are unions of cells; two cells need one close pair to join.
Cells are kept as sorted keys, so that the cells around one are 25 short runs, found by pointers that only move on.
"""

from __future__ import annotations

import numpy as np
from numba import njit

MAX_CELLS = 1 << 20
_REACH = 2  # cells: a side is just over eps / 2
_WIDTH = 2 * _REACH + 1
_STEP_Y = MAX_CELLS + 2 * _REACH  # cells at the border of the grid have empty neighbours
_STEP_Z = _STEP_Y * _STEP_Y


@njit(cache=True, nogil=True)
def cell_keys(cells):  # type: ignore[no-untyped-def]
    """Numbers cells so that a neighbour is a constant step away: (3, N) int64 x, y, z to (N,) int64."""
    keys = np.empty(cells.shape[1], np.int64)
    for i in range(keys.shape[0]):
        keys[i] = (cells[2, i] + _REACH) * _STEP_Z + (cells[1, i] + _REACH) * _STEP_Y + cells[0, i] + _REACH
    return keys


@njit(cache=True, nogil=True)
def dbscan(xyz, keys, order, eps, min_points, cluster, cluster_mask, core_mask):  # type: ignore[no-untyped-def]
    """Clusters points that are sorted by cell.

    Args:
        xyz: (N, 3) float64, metres, sorted.
        keys: (N,) int64 ascending cell of each.
        order: (N,) int64 row of each point among the unsorted.
        eps: radius, metres; cells are at most eps / sqrt(3) wide.
        min_points: neighbours, itself included, that make a core point.
        cluster: (N,) int32 zeros, filled, unsorted.
        cluster_mask: (N,) bool False, filled, unsorted.
        core_mask: (N,) bool False, filled, unsorted.

    Returns:
        The number of clusters.
    """
    num_points = keys.shape[0]
    squared = eps * eps
    start = np.empty(num_points + 1, np.int64)
    num_cells = 0
    for i in range(num_points):
        if i == 0 or keys[i] != keys[i - 1]:
            start[num_cells] = i
            num_cells += 1
    start[num_cells] = num_points
    runs = _neighbor_runs(keys, start, num_cells)

    core = np.zeros(num_points, np.bool_)
    num_cores = np.zeros(num_cells, np.int64)
    for c in range(num_cells):
        size = start[c + 1] - start[c]
        if size >= min_points:
            core[start[c] : start[c + 1]] = True
            num_cores[c] = size
            continue
        for i in range(start[c], start[c + 1]):
            found = 0
            for run in range(_WIDTH * _WIDTH):
                for j in range(start[runs[c, run, 0]], start[runs[c, run, 1]]):
                    if _squared_distance(xyz, i, j) <= squared:
                        found += 1
                        if found == min_points:
                            break
                if found == min_points:
                    break
            if found == min_points:
                core[i] = True
                num_cores[c] += 1

    parent = np.arange(num_cells)
    for c in range(num_cells):
        if num_cores[c] == 0:
            continue
        for run in range(_WIDTH * _WIDTH):
            for d in range(max(runs[c, run, 0], c + 1), runs[c, run, 1]):
                if num_cores[d] == 0:
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

    for i in range(num_points):
        if core[i]:
            continue
        best = num_clusters
        for run in range(_WIDTH * _WIDTH):
            for d in range(runs[cell[i], run, 0], runs[cell[i], run, 1]):
                if num_cores[d] == 0:
                    continue
                candidate = number[_root(parent, d)]
                if candidate >= best:
                    continue
                for j in range(start[d], start[d + 1]):
                    if core[j] and _squared_distance(xyz, i, j) <= squared:
                        best = candidate
                        break
        if best < num_clusters:
            cluster[order[i]] = best
            cluster_mask[order[i]] = True
    return num_clusters


@njit(cache=True, nogil=True)
def _neighbor_runs(keys, start, num_cells):  # type: ignore[no-untyped-def]
    """For each cell and each (dz, dy), which cells lie within reach along x: (num_cells, 25, 2) int32, half-open."""
    runs = np.empty((num_cells, _WIDTH * _WIDTH, 2), np.int32)
    for dz in range(-_REACH, _REACH + 1):
        for dy in range(-_REACH, _REACH + 1):
            run = (dz + _REACH) * _WIDTH + dy + _REACH
            step = dz * _STEP_Z + dy * _STEP_Y
            low = high = 0
            for c in range(num_cells):
                middle = keys[start[c]] + step
                while low < num_cells and keys[start[low]] < middle - _REACH:
                    low += 1
                while high < num_cells and keys[start[high]] <= middle + _REACH:
                    high += 1
                runs[c, run, 0] = low
                runs[c, run, 1] = high
    return runs


@njit(cache=True, nogil=True)
def _cores_meet(xyz, core, squared, a_begin, a_end, b_begin, b_end):  # type: ignore[no-untyped-def]
    """Whether a core of one cell lies within reach of a core of the other."""
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
