"""Compute the pooled features of a frozen teacher once for every keyframe."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from lidardistill.data.frame import CorruptSample
from lidardistill.data.keyframes import SampleKey
from lidardistill.data.loader import make_loader, prepare_workers
from lidardistill.data.sampler import OnceSampler
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.methods.slidr.build import build_pair_dataset, feature_store
from lidardistill.methods.slidr.method import SLidR
from lidardistill.methods.slidr.sample import PairBatch, PairDataset, PairSample, collate_pairs
from lidardistill.tasks.pretrain.config import PretrainConfig


def fill_feature_store(
    config: PretrainConfig,
    method: SLidR,
    index: NuScenesIndex,
    rows: np.ndarray,
    device: torch.device,
    on_progress: Callable[[int, int], None] | None = None,
    on_unreadable: Callable[[str, str], object] | None = None,
) -> int:
    """Store what is missing. Images are read at the size the student's recipe names, without augmentation.

    Args:
        config: with `teacher_cache` set.
        method: holds the teacher; it is on `device`.
        index: reads the keyframes.
        rows: (n,) int64 index rows.
        device: where the teacher runs.
        on_progress: called with (keyframes done, keyframes in all).
        on_unreadable: called with (sample token, reason) of each keyframe that cannot be read; it gets no features,
            and training replaces it. None lets the error through.

    Returns:
        Keyframes that were computed now.
    """
    store = feature_store(config)
    missing = np.array([row for row in rows.tolist() if not store.has(index.sample_token(row))], np.int64)
    if len(missing) == 0:
        return 0
    dataset = build_pair_dataset(config, index, missing, train=False, from_cache=False)
    readable = _Readable(dataset, [index.sample_token(row) for row in missing.tolist()])
    prepare_workers(readable, _collate_one, 1, config.data.num_workers)
    loader = make_loader(readable, OnceSampler(len(missing), 1), _collate_one, config.data.num_workers)
    computed = 0
    for done, batch in enumerate(loader, start=1):
        if isinstance(batch, _Unreadable):
            if on_unreadable is None:
                raise CorruptSample(f"sample {batch.token}: {batch.reason}")
            on_unreadable(batch.token, batch.reason)
        else:
            features, count = method.teacher_features(batch.to(device))
            store.put(batch.sample_tokens[0], features.cpu().numpy(), count.cpu().numpy())
            computed += 1
        if on_progress is not None:
            on_progress(done, len(missing))
    return computed


class _Unreadable(NamedTuple):
    """A keyframe that cannot be read, and why."""

    token: str
    reason: str


class _Readable(Dataset["PairSample | _Unreadable"]):
    """The samples of a data set that replaces none; what cannot be read is returned, for an error would end its worker."""

    def __init__(self, dataset: PairDataset, tokens: list[str]) -> None:
        self.dataset = dataset
        self.superpixels, self.warm_up = dataset.superpixels, dataset.warm_up
        self.tokens = tokens

    def __getitem__(self, key: SampleKey) -> PairSample | _Unreadable:
        try:
            return self.dataset[key]
        except (CorruptSample, FileNotFoundError) as error:
            return _Unreadable(self.tokens[key[2]], str(error))


def _collate_one(samples: list[PairSample | _Unreadable]) -> PairBatch | _Unreadable:
    (sample,) = samples
    return sample if isinstance(sample, _Unreadable) else collate_pairs([sample])
