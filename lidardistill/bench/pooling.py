"""`lidardistill bench pooling`: superpixel_pool against SLidR's sparse one-hot product, in one process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

# One keyframe of SLidR: six views, ResNet-50 at stride 4, crop 224x416, 150 superpixels.
FEATURES = (6, 64, 56, 104)
FINE = (224, 416)
SUPERPIXELS = 150


def run(rounds: int = 5) -> dict[str, Any]:
    """Time forward and backward, baseline and ours in turn, on one thread of the CPU (Triton kernels were not
    run).

    Args:
        rounds: times each is run after one warm-up; at least 5 for a median worth quoting.

    Returns:
        Plain values: shapes, `ours` and `baseline` (median_ms, iqr_ms of forward + backward, forward_ms,
        backward_ms, and extra_memory_mb: peak of an untimed call, its leaf and the gradient included;
        None where this system does not tell), `first_call_s` (compiling the kernels, or reading them from
        numba's cache), `ratio` and `memory_ratio` (baseline / ours), `max_error` and `max_grad_error`
        (absolute, float32, between the two), `max_error_float64` and `max_grad_error_float64` of each against
        the baseline in float64.
    """
    import torch

    from lidardistill.bench.harness.memory import peak_extra_mb
    from lidardistill.ops import superpixel_pool

    features, superpixels, grad = _inputs()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ways = {"ours": superpixel_pool, "baseline": sparse_one_hot_pool}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    results: dict[str, tuple[Tensor, Tensor]] = {}
    extra_mb: dict[str, float | None] = {}

    def call(name: str, inputs: Tensor = features) -> tuple[Tensor, Tensor]:
        leaf = inputs.clone().requires_grad_()
        start = time.perf_counter()
        pooled, _count = ways[name](leaf, superpixels, SUPERPIXELS)
        middle = time.perf_counter()
        pooled.backward(grad.to(inputs.dtype))
        times[name].append((middle - start, time.perf_counter() - middle))
        assert leaf.grad is not None
        return pooled.detach(), leaf.grad

    try:
        for _ in range(rounds + 1):
            for name in ways:
                results[name] = call(name)
        first, *_ = times["ours"]
        summary = {name: _summary(values[1:]) for name, values in times.items()}
        for name in ways:
            extra_mb[name] = peak_extra_mb(lambda name=name: call(name))  # type: ignore[misc]
        exact = call("baseline", features.double())
    finally:
        torch.set_num_threads(threads)
    error, grad_error = (
        {name: (results[name][k] - exact[k]).abs().max().item() for name in ways} for k in range(2)
    )
    ours_mb, baseline_mb = extra_mb["ours"], extra_mb["baseline"]
    return {
        "what": "superpixel pooling, forward + backward",
        "baseline_is": "SLidR: interpolate, normalize, sparse one-hot product",
        "features": list(FEATURES),
        "superpixel_map": list(FINE),
        "num_superpixels": SUPERPIXELS,
        "rounds": rounds,
        "threads": 1,
        "torch": torch.__version__,
        **{name: {**summary[name], "extra_memory_mb": extra_mb[name]} for name in ways},
        "first_call_s": sum(first),
        "ratio": summary["baseline"]["median_ms"] / summary["ours"]["median_ms"],
        "memory_ratio": baseline_mb / ours_mb if ours_mb and baseline_mb else None,
        "max_error": (results["ours"][0] - results["baseline"][0]).abs().max().item(),
        "max_grad_error": (results["ours"][1] - results["baseline"][1]).abs().max().item(),
        "max_error_float64": error,
        "max_grad_error_float64": grad_error,
    }


def sparse_one_hot_pool(features: Tensor, superpixels: Tensor, num_superpixels: int) -> tuple[Tensor, Tensor]:
    """SLidR's pooling, after its public code: (pooled (V * S, C), count (V * S,))."""
    import torch
    import torch.nn.functional as F

    fine = F.interpolate(features, size=superpixels.shape[1:], mode="bilinear", align_corners=True)
    fine = F.normalize(fine, dim=1).permute(0, 2, 3, 1).flatten(0, 2)
    num_views = features.shape[0]
    ids = (superpixels.long() + num_superpixels * torch.arange(num_views)[:, None, None]).flatten()
    one_hot = torch.sparse_coo_tensor(
        torch.stack([ids, torch.arange(ids.numel())]),
        torch.ones(ids.numel(), dtype=features.dtype),
        (num_views * num_superpixels, ids.numel()),
        check_invariants=False,
    )
    count = torch.sparse.sum(one_hot, 1).to_dense()
    return one_hot @ fine / (count[:, None] + 1e-6), count


def _inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Random features, and superpixels with ragged borders like SLIC's: the nearest of jittered seeds."""
    import torch

    rng = np.random.default_rng(0)
    rows, columns = 10, 15
    row, column = np.mgrid[: FINE[0], : FINE[1]]
    labels = []
    for _ in range(FEATURES[0]):
        wave = 4 * rng.standard_normal((2, 6))
        y = row + sum(wave[0, k] * np.sin((k + 1) * column / 23) for k in range(6))
        x = column + sum(wave[1, k] * np.sin((k + 1) * row / 17) for k in range(6))
        y_cell = np.clip(y * rows / FINE[0], 0, rows - 1).astype(np.int32)
        x_cell = np.clip(x * columns / FINE[1], 0, columns - 1).astype(np.int32)
        labels.append(y_cell * columns + x_cell)
    features = rng.standard_normal(FEATURES, dtype=np.float32)
    grad = rng.standard_normal((FEATURES[0] * SUPERPIXELS, FEATURES[1]), dtype=np.float32)
    return torch.from_numpy(features), torch.from_numpy(np.stack(labels)), torch.from_numpy(grad)


def _summary(times: list[tuple[float, float]]) -> dict[str, float]:
    forward, backward = 1e3 * np.array(times).T
    low, median, high = np.percentile(forward + backward, [25, 50, 75])
    return {
        "median_ms": float(median),
        "iqr_ms": float(high - low),
        "forward_ms": float(np.median(forward)),
        "backward_ms": float(np.median(backward)),
    }
