"""`lidardistill bench splat`: lift_splat against the outer product of Lift-Splat-Shoot, in one process."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from lidardistill.ops import BevGrid
    from lidardistill.ops.frustum import FrustumCells

# One keyframe of `camera_bev`'s "swin_t" at 256 x 704, BEVFusion's size: views, rows, columns, depths,
# channels.
FEATURES = (6, 32, 88, 118, 80)
STRIDE = 8
DEPTH_RANGE = (1.0, 60.0)
CELL_SIZE = 0.4


def run(rounds: int = 5) -> dict[str, Any]:
    """Forward and backward, alternating baseline and ours, one thread of the CPU (the GPU's way was not run).

    Args:
        rounds: times each is run after one warm-up; at least 5 for a median worth quoting.

    Returns:
        Plain values: shapes, `ours` and `baseline` (median_ms, iqr_ms of forward + backward, forward_ms,
        backward_ms, and extra_memory_mb: peak of an untimed call, its leaves and their gradients included;
        None where this system does not tell), `places_ms`, of the geometry that both need, `first_call_s`
        (compiling the kernels, or reading them from numba's cache), `ratio` and `memory_ratio` (baseline /
        ours), `max_error` and `max_grad_error` (relative to the largest value, float32, ours against the
        baseline in float64).
    """
    import torch

    from lidardistill.bench.harness.memory import peak_extra_mb
    from lidardistill.ops.lift_splat import lift_splat

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.perf_counter()
    places, grid = _places()
    places_ms = 1e3 * (time.perf_counter() - start)
    draw = torch.Generator().manual_seed(0)
    depth = torch.randn(places.cell.shape, generator=draw).softmax(1)
    context = torch.randn(len(depth), FEATURES[4], generator=draw)
    grad = torch.randn(grid.num_cells, FEATURES[4], generator=draw)
    ways = {"ours": "numba", "baseline": "outer"}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    results: dict[str, list[Tensor]] = {}
    extra_mb: dict[str, float | None] = {}

    def call(name: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        a, b = (t.to(dtype, copy=True).requires_grad_() for t in (depth, context))
        start = time.perf_counter()
        bev = lift_splat(a, b, places, grid.num_cells, implementation=ways[name])
        middle = time.perf_counter()
        bev.backward(grad.to(dtype))
        times[name].append((middle - start, time.perf_counter() - middle))
        assert a.grad is not None
        assert b.grad is not None
        return [bev.detach(), a.grad, b.grad]

    try:
        for _ in range(rounds + 1):
            for name in ways:
                results[name] = call(name)
        first, *_ = times["ours"]
        summary = {name: _summary(values[1:]) for name, values in times.items()}
        for name in ways:
            extra_mb[name] = peak_extra_mb(lambda name=name: call(name))  # type: ignore[misc]
        exact = call("baseline", torch.float64)
    finally:
        torch.set_num_threads(threads)
    errors = [
        float((ours - theirs).abs().max() / theirs.abs().max())
        for ours, theirs in zip(results["ours"], exact, strict=True)
    ]
    ours_mb, baseline_mb = extra_mb["ours"], extra_mb["baseline"]
    return {
        "what": "lift and splat, forward + backward",
        "baseline_is": "Lift-Splat-Shoot: outer product of depth and context, index_add",
        "features": list(FEATURES),
        "cells": [grid.height, grid.width],
        "samples": places.mask.numel(),
        "samples_on_the_map": int(places.mask.sum()),
        "rounds": rounds,
        "threads": 1,
        "torch": torch.__version__,
        "places_ms": places_ms,
        **{name: {**summary[name], "extra_memory_mb": extra_mb[name]} for name in ways},
        "first_call_s": sum(first),
        "ratio": summary["baseline"]["median_ms"] / summary["ours"]["median_ms"],
        "memory_ratio": baseline_mb / ours_mb if ours_mb and baseline_mb else None,
        "max_error": errors[0],
        "max_grad_error": max(errors[1:]),
    }


def _places() -> tuple[FrustumCells, BevGrid]:
    """Cells of the samples of level cameras that look to all sides; each sees 70 degrees."""
    import torch

    from lidardistill.ops import BevGrid
    from lidardistill.ops.frustum import frustum_cells

    views, rows, columns, depths, _ = FEATURES
    width, height = columns * STRIDE, rows * STRIDE
    cam2img = torch.eye(4, dtype=torch.float64)
    cam2img[0, 0] = cam2img[1, 1] = width / 2 / math.tan(math.radians(35))
    cam2img[0, 2], cam2img[1, 2] = width / 2 - 0.5, height / 2 - 0.5
    lidar2img = []
    for view in range(views):
        yaw = 2 * math.pi * view / views
        lidar2cam = torch.eye(4, dtype=torch.float64)
        lidar2cam[0, :3] = torch.tensor([math.sin(yaw), -math.cos(yaw), 0.0])
        lidar2cam[1, :3] = torch.tensor([0.0, 0.0, -1.0])
        lidar2cam[2, :3] = torch.tensor([math.cos(yaw), math.sin(yaw), 0.0])
        lidar2img.append(cam2img @ lidar2cam)
    grid = BevGrid.of_range((-51.2, -51.2, 51.2, 51.2), CELL_SIZE)
    step = (DEPTH_RANGE[1] - DEPTH_RANGE[0]) / depths
    places = frustum_cells(
        torch.stack(lidar2img),
        torch.zeros(views, dtype=torch.int64),
        STRIDE * torch.arange(rows) + (STRIDE - 1) / 2,
        STRIDE * torch.arange(columns) + (STRIDE - 1) / 2,
        DEPTH_RANGE[0] + step * (torch.arange(depths) + 0.5),
        grid,
        (-5.0, 3.0),
    )
    return places, grid


def _summary(times: list[tuple[float, float]]) -> dict[str, float]:
    forward, backward = 1e3 * np.array(times).T
    low, median, high = np.percentile(forward + backward, [25, 50, 75])
    return {
        "median_ms": float(median),
        "iqr_ms": float(high - low),
        "forward_ms": float(np.median(forward)),
        "backward_ms": float(np.median(backward)),
    }
