"""Compute the pooled features of a frozen teacher once for every keyframe."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from lidardistill.config.run import PretrainConfig
from lidardistill.data.collate import collate_pairs
from lidardistill.data.loader import make_loader
from lidardistill.data.nuscenes import NuScenesIndex
from lidardistill.data.sampler import OnceSampler
from lidardistill.engine.build import build_pair_dataset, feature_store
from lidardistill.methods.slidr import SLidR


def fill_feature_store(
    config: PretrainConfig,
    method: SLidR,
    index: NuScenesIndex,
    rows: np.ndarray,
    device: torch.device,
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Store what is missing. Images are read at the size the student's recipe names, without augmentation.

    Args:
        config: with `teacher_cache` set.
        method: holds the teacher; it is on `device`.
        index: reads the keyframes.
        rows: (n,) int64 index rows.
        device: where the teacher runs.
        on_progress: called with (keyframes done, keyframes in all).

    Returns:
        Keyframes that were computed now.
    """
    store = feature_store(config)
    missing = np.array([row for row in rows.tolist() if not store.has(index.sample_token(row))], np.int64)
    if len(missing) == 0:
        return 0
    dataset = build_pair_dataset(config, index, missing, train=False, from_cache=False)
    loader = make_loader(dataset, OnceSampler(len(missing), 1), collate_pairs, config.data.num_workers)
    for done, batch in enumerate(loader, start=1):
        features, count = method.teacher_features(batch.to(device))
        store.put(batch.sample_tokens[0], features.cpu().numpy(), count.cpu().numpy())
        if on_progress is not None:
            on_progress(done, len(missing))
    return len(missing)
