"""Random voxels for tests of sparse layers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def random_voxels(
    seed: int, num_voxels: int = 120, shape: tuple[int, int, int] = (6, 8, 10), batch_size: int = 2
) -> Tensor:
    """(M, 4) int32 distinct voxels in random order; every scan of the batch has some."""
    rng = np.random.default_rng(seed)
    cells = rng.choice(batch_size * int(np.prod(shape)), num_voxels, replace=False)
    coords = np.stack(np.unravel_index(cells, (batch_size, *shape)), 1).astype(np.int32)
    return torch.from_numpy(coords)


def to_dense(features: Tensor, coords: Tensor, shape: tuple[int, int, int], batch_size: int) -> Tensor:
    """(M, C) to (B, C, z, y, x) with zeros elsewhere."""
    b, z, y, x = coords.long().unbind(1)
    dense = features.new_zeros(batch_size, *shape, features.shape[1])
    dense = dense.index_put((b, z, y, x), features)
    return dense.permute(0, 4, 1, 2, 3)


def from_dense(dense: Tensor, coords: Tensor) -> Tensor:
    """The cells of (B, C, z, y, x) at (M, 4) coordinates."""
    b, z, y, x = coords.long().unbind(1)
    return dense.permute(0, 2, 3, 4, 1)[b, z, y, x]
