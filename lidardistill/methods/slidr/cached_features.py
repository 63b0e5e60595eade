"""Pooled features of a frozen teacher, computed once for each keyframe: the images do not change either."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lidardistill.atomic import atomic_write
from lidardistill.data.frame import CorruptSample
from lidardistill.data.keyframes import Keyframes, SampleKey
from lidardistill.data.loader import make_loader, warm_up
from lidardistill.data.sampler import OnceSampler
from lidardistill.methods.base import Parts, Report
from lidardistill.methods.image_pairs import ImagePairs, PairBatch, PairSample, collate_pairs


class FeatureStore:
    """One .npy file a keyframe, written atomically; any number of processes may read and write.

    Args:
        root: folder, made at the first `put`.
        key: digest of everything that the features depend on besides the keyframe.
    """

    def __init__(self, root: Path | str, key: str) -> None:
        self.folder = Path(root) / key

    def path(self, sample_token: str) -> Path:
        return self.folder / f"{sample_token}.npy"

    def has(self, sample_token: str) -> bool:
        return self.path(sample_token).is_file()

    def put(self, sample_token: str, features: np.ndarray, count: np.ndarray) -> None:
        """Store (R, C) float32 features and the (R,) float32 pixels behind each row."""
        with atomic_write(self.path(sample_token)) as stream:
            np.save(stream, np.concatenate([features, count[:, None]], axis=1).astype(np.float32))

    def get(self, sample_token: str) -> tuple[np.ndarray, np.ndarray]:
        """(R, C) float32 features and (R,) float32 counts.

        Raises:
            FileNotFoundError: they were not computed.
        """
        path = self.path(sample_token)
        if not path.is_file():
            raise FileNotFoundError(
                f"no teacher features of keyframe {sample_token}: expected {path}; they are computed at "
                "the start of "
                "`lidardistill pretrain`, so run it again with the same config"
            )
        stored = np.load(path, allow_pickle=False)
        return stored[:, :-1], stored[:, -1]


def store_of(parts: Parts) -> FeatureStore:
    """Folder of the pooled features of a run; every run with the same teacher and the same images shares
    it."""
    assert parts.teacher_cache is not None
    assert parts.teacher is not None
    values = {
        "teacher": parts.teacher.model_dump(mode="json"),
        "superpixels": parts.data.superpixels.model_dump(exclude={"cache"}),
        "images": parts.data.images.model_dump(exclude={"cache"}),
        "image_size": parts.data.augment.image_size,
        "data": [parts.data.dataroot, parts.data.version],
    }
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return FeatureStore(parts.teacher_cache, digest[:16])


@dataclass(frozen=True)
class StoredFeatures:
    """Cached features of a keyframe, or, as a control, of another keyframe.

    Attributes:
        store: holds them.
        of_another: read those of the keyframe half the run away: the layout of a street, but another street.
        rows: (n,) int64 ascending rows of the run, which `of_another` needs.
    """

    store: FeatureStore
    of_another: bool = False
    rows: np.ndarray | None = None

    def of_run(self, rows: np.ndarray) -> StoredFeatures:
        return replace(self, rows=rows)

    def read(self, source: Any, row: int) -> tuple[np.ndarray, np.ndarray]:
        """(V * S, C) float32 features and (V * S,) float32 pixels behind each row."""
        if self.of_another:
            assert self.rows is not None, "of_run was not called"
            place = int(np.searchsorted(self.rows, row)) + len(self.rows) // 2
            row = int(self.rows[place % len(self.rows)])
        return self.store.get(source.sample_token(row))


def fill_store(
    store: FeatureStore,
    recipe: ImagePairs,
    features_of: Callable[[PairBatch], tuple[Tensor, Tensor]],
    source: Any,
    rows: np.ndarray,
    device: torch.device,
    *,
    num_workers: int,
    on_progress: Report | None = None,
    on_unreadable: Callable[[str, str], object] | None = None,
) -> int:
    """Compute the features that are missing, one keyframe a batch.

    Args:
        store: gets them.
        recipe: without augmentation.
        features_of: (V * S, C) features and (V * S,) counts of a batch.
        source: reads the keyframes.
        rows: (n,) int64 index rows.
        device: of the teacher.
        num_workers: processes that read keyframes.
        on_progress: called with (keyframes done, keyframes in all).
        on_unreadable: called with (sample token, reason) of each keyframe that cannot be read; it gets no
            features, and training replaces it. None raises the error.

    Returns:
        Keyframes that were computed now.
    """
    missing = np.array([row for row in rows.tolist() if not store.has(source.sample_token(row))], np.int64)
    if len(missing) == 0:
        return 0
    readable = _Readable(Keyframes(source, missing, recipe, seed=0, max_substitutes=0))
    if num_workers:
        warm_up(readable)
    loader = make_loader(readable, OnceSampler(len(missing), 1), _collate_one, num_workers)
    computed = 0
    for done, batch in enumerate(loader, start=1):
        if isinstance(batch, _Unreadable):
            if on_unreadable is None:
                raise CorruptSample(f"sample {batch.token}: {batch.reason}")
            on_unreadable(batch.token, batch.reason)
        else:
            features, count = features_of(batch.to(device))
            store.put(batch.sample_tokens[0], features.cpu().numpy(), count.cpu().numpy())
            computed += 1
        if on_progress is not None:
            on_progress(done, len(missing))
    return computed


class _Unreadable(NamedTuple):
    """A keyframe that cannot be read, and the reason."""

    token: str
    reason: str


class _Readable(Dataset["PairSample | _Unreadable"]):
    """Keyframes without substitutes. An error would end its worker process, so that it is returned
    instead."""

    def __init__(self, keyframes: Keyframes[PairSample]) -> None:
        self.keyframes, self.warm_up = keyframes, keyframes.warm_up

    def __getitem__(self, key: SampleKey) -> PairSample | _Unreadable:
        try:
            return self.keyframes[key]
        except (CorruptSample, FileNotFoundError) as error:
            row = int(self.keyframes.rows[key[2]])
            return _Unreadable(self.keyframes.source.sample_token(row), str(error))


def _collate_one(samples: Sequence[PairSample | _Unreadable]) -> PairBatch | _Unreadable:
    (sample,) = samples
    return sample if isinstance(sample, _Unreadable) else collate_pairs([sample])
