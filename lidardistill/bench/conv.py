"""`lidardistill bench conv`: submanifold convolutions of MinkUNet34 on a CPU against spconv's own CPU
kernels.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lidardistill.bench.harness.timing import alternate
from lidardistill.bench.projection import read_rig, synthetic_rig
from lidardistill.bench.voxelize import VOXEL_SIZE

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lidardistill.sparse.rulebook import Rulebook

LAYERS = ((0, 32, 32), (0, 96, 96), (0, 128, 96), (1, 64, 64), (2, 128, 128), (3, 256, 256))
"""Level (voxels of twice the size each time), channels in, channels out."""

SPCONV = "spconv's SubMConv3d on the CPU, one thread, index pairs shared by indice_key"
TORCH = "torch.mm over all index pairs at once (implementation='torch'); spconv has no backward pass on a CPU"
GEMM_ROWS = 2000

SCANS = 40
"""Every call gets another scan, as in training: oneDNN compiles a product for each number of rows, and 40
scans have more of them than its cache holds. Scan i lacks the last `LESS` * i voxels."""
LESS = 7


def run(rounds: int = 7, dataroot: Path | None = None) -> dict[str, Any]:
    """Run our convolution and the baseline in turn, on one thread, for each of `LAYERS`, over `SCANS` scans.

    Args:
        rounds: of five calls each.
        dataroot: a nuScenes root, whose first keyframe is used; None for a made-up sweep.

    Returns:
        `layers`: for each layer what `alternate` returns for `mm` (torch.mm over all pairs) and `fp32` (what
        a run uses), forward, against spconv, and for `fp32_backward`, forward and backward, against plain
        torch; `ratio_*` of the medians; `gemm_gflops` of products of plain matrices, to compare with;
        `quality`: the largest errors against float64 divided by the largest value. There is no bfloat16: on a
        CPU it is computed in float32.
    """
    from lidardistill.sparse._tiles_numba import VECTOR_BYTES

    points = (synthetic_rig() if dataroot is None else read_rig(Path(dataroot))).points
    with _one_torch_thread():
        levels = _levels(points)
        layers, quality = {}, dict.fromkeys(("fp32", "fp32_gradient", "spconv"), 0.0)
        for level, inputs, outputs in LAYERS:
            layer = _Layer(*levels[level], inputs, outputs)
            name = f"level {level}, {inputs} to {outputs}"
            layers[name] = {
                "voxels": layer.book.num_source,
                "pairs": sum(layer.book.sizes) + layer.book.num_source,
                **layer.times(rounds),
            }
            for key, error in layer.errors().items():
                quality[key] = max(quality[key], error)
        rates = _gemm_rates()
    ratios = {
        f"ratio_{way}_{name.split(', ')[1].replace(' to ', '_')}": figures[way]["ratio"]
        for name, figures in layers.items()
        for way in ("mm", "fp32", "fp32_backward")
    }
    return {
        "name": "conv",
        "baseline_is": "spconv (forward), torch.mm over all pairs in float32 (backward)",
        "layers": layers,
        **ratios,
        "gemm_gflops": rates,
        "vector_bytes": VECTOR_BYTES,
        "quality": quality,
        "threads": 1,
        "input": {"source": str(dataroot or "synthetic"), "voxel_size": VOXEL_SIZE, "points": len(points)},
    }


class _Layer:
    """One convolution with its inputs, ours and spconv's."""

    def __init__(self, coords: Tensor, shape: tuple[int, int, int], inputs: int, outputs: int) -> None:
        import torch

        from lidardistill.sparse.rulebook import submanifold_rulebook
        from lidardistill.sparse.sparse import import_spconv

        generator = torch.Generator().manual_seed(0)
        sizes = [len(coords) - LESS * scan for scan in range(SCANS) if LESS * scan < len(coords)]
        self.books: list[Rulebook] = [submanifold_rulebook(coords[:size], shape, 3) for size in sizes]
        self.book = self.books[0]
        self.features = torch.randn(len(coords), inputs, generator=generator)
        bound = (27 * inputs) ** -0.5
        self.weight = (torch.rand(outputs, 27, inputs, generator=generator) * 2 - 1) * bound
        self.grad = torch.randn(len(coords), outputs, generator=generator)
        spconv = import_spconv()
        self.native = spconv.SubMConv3d(inputs, outputs, 3, bias=False, indice_key="subm")
        self.native.weight.data.copy_(self.weight.view(outputs, 3, 3, 3, inputs))
        self.voxels = spconv.SparseConvTensor(self.features, coords, list(shape), 1)
        with torch.no_grad():
            self.voxels.indice_dict.update(self.native(self.voxels).indice_dict)

    def times(self, rounds: int) -> dict[str, Any]:
        """What `alternate` returns, for each way."""
        import torch

        plain = self.forward_backward("torch", torch.float32)
        ways: dict[str, tuple[Callable[[], Any], Callable[[], Any], str]] = {
            "mm": (self.forward("torch", torch.float32), self.spconv, SPCONV),
            "fp32": (self.forward("auto", torch.float32), self.spconv, SPCONV),
            "fp32_backward": (self.forward_backward("auto", torch.float32), plain, TORCH),
        }
        found = {}
        for way, (product, baseline, name) in ways.items():
            found[way] = alternate(product, baseline, rounds)
            found[way]["baseline"]["name"] = name
        return found

    def spconv(self) -> Tensor:
        """Forward pass of spconv."""
        import torch

        with torch.no_grad():
            return self.native(self.voxels).features

    def forward(self, implementation: str, dtype: torch.dtype) -> Callable[[], Tensor]:
        """A forward pass of ours, to be called."""
        from lidardistill.sparse.gather_matmul import convolve

        features, weight = self.features.to(dtype), self.weight.to(dtype)
        books = itertools.cycle(self.books)

        def call() -> Tensor:
            book = next(books)
            return convolve(features[: book.num_source], weight, book, implementation)

        return call

    def forward_backward(self, implementation: str, dtype: torch.dtype) -> Callable[[], list[Tensor]]:
        """A forward and a backward pass of ours: result, gradients of features and weight."""
        import torch

        from lidardistill.sparse.gather_matmul import convolve

        features, weight = self.features.to(dtype), self.weight.to(dtype).requires_grad_()
        grad = self.grad.to(dtype)
        books = itertools.cycle(self.books)

        def step() -> list[Tensor]:
            book = next(books)
            rows = features[: book.num_source].detach().requires_grad_()
            out = convolve(rows, weight, book, implementation)
            return [out, *torch.autograd.grad(out, (rows, weight), grad[: book.num_target])]

        return step

    def errors(self) -> dict[str, float]:
        """Largest errors against float64."""
        import torch

        exact = self.forward_backward("torch", torch.float64)()
        out, *gradients = self.forward_backward("auto", torch.float32)()
        return {
            "spconv": _error(self.spconv(), exact[0]),
            "fp32": _error(out, exact[0]),
            "fp32_gradient": max(map(_error, gradients, exact[1:])),
        }


def _error(found: Tensor, exact: Tensor) -> float:
    return float((found.detach().double() - exact.detach()).abs().max() / exact.detach().abs().max())


def _levels(points: np.ndarray) -> list[tuple[Tensor, tuple[int, int, int]]]:
    """Coordinates and shape of the sweep's voxels at each level of the U-Net."""
    import torch

    from lidardistill.geometry import voxelize
    from lidardistill.sparse.rulebook import strided_rulebook

    cells = np.asarray(voxelize(points, VOXEL_SIZE, kind="cylindrical").voxel_coords)
    cells = cells - cells.min(0)
    depth, height, width = (int(-(-(size + 1) // 16) * 16) for size in cells.max(0))
    coords = torch.from_numpy(np.insert(cells, 0, 0, axis=1).astype(np.int32))
    levels = [(coords, (depth, height, width))]
    while len(levels) <= max(level for level, _, _ in LAYERS):
        levels.append(strided_rulebook(*levels[-1], 2, 2, 0)[1:])
    return levels


def _gemm_rates() -> dict[str, float]:
    """GFLOP/s of products of plain matrices, 96 to 96 channels: best of ten."""
    import torch

    from lidardistill.sparse.gather_matmul import convolve
    from lidardistill.sparse.rulebook import identity_rulebook

    x, weight = torch.randn(GEMM_ROWS, 96), torch.randn(96, 96)
    every_row = identity_rulebook(GEMM_ROWS)
    ways: dict[str, Callable[[], Tensor]] = {
        "ours float32": lambda: convolve(x, weight[:, None], every_row),
        "torch.mm float32": lambda: x @ weight,
    }
    rates = {}
    for name, way in ways.items():
        times = []
        for _ in range(11):
            start = time.perf_counter()
            way()
            times.append(time.perf_counter() - start)
        rates[name] = round(2 * GEMM_ROWS * 96 * 96 / min(times[1:]) / 1e9, 1)
    return rates


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
