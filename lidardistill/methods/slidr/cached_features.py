"""Cache of a frozen teacher's pooled features, computed once for each keyframe, for images without
augmentation."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor
from torch.utils.data import Dataset

from lidardistill.atomic import atomic_write
from lidardistill.contents import digest_of, state_of
from lidardistill.corrupt import CorruptSample
from lidardistill.data.config import ImageConfig
from lidardistill.data.images import image_key
from lidardistill.data.keyframes import Keyframes, SampleKey
from lidardistill.data.loader import make_loader, prepare_workers
from lidardistill.data.sampler import OnceSampler
from lidardistill.methods.base import Parts, Report
from lidardistill.methods.image_pairs import ImagePairs, PairBatch, PairSample, collate_pairs
from lidardistill.regions.superpixels.config import SuperpixelConfig
from lidardistill.regions.superpixels.masks import find_mask_file
from lidardistill.spans import spanned

log = logging.getLogger(__name__)


FORMAT = 2
"""Version of the cached features. Raise it if the same settings and files give other features; this
invalidates old caches."""


class FeatureStore:
    """One .npy file a keyframe, written atomically; any number of processes may read and write.

    A file name holds the token of the keyframe, and the size and modification time of each of its images and
    region maps. So the cache never returns features of changed images or of other region maps.

    Args:
        root: folder, made at the first `put`.
        key: digest of everything else that the features depend on, see `feature_key`.
        masks: folder of region maps that another program wrote, or None.
    """

    def __init__(self, root: Path | str, key: str, masks: Path | str | None = None) -> None:
        self.folder = Path(root) / key
        self.masks = None if masks is None else Path(masks)

    def path(self, source: Any, row: int) -> Path:
        """File of a keyframe; raises ValueError for a token that is no file name."""
        token = source.sample_token(row)
        if Path(token).name != token:
            raise ValueError(f"sample token {token!r} is no file name; correct the table sample")
        pictures = source.image_paths(row)
        maps = [] if self.masks is None else [self._map(image_key(p, source.dataroot)) for p in pictures]
        return self.folder / f"{token}-{state_of([*pictures, *maps])}.npy"

    def _map(self, key: str) -> Path | None:
        assert self.masks is not None
        try:
            return find_mask_file(self.masks, key)
        except FileNotFoundError:
            return None

    def has(self, source: Any, row: int) -> bool:
        """True if the features of a keyframe are stored and complete."""
        path = self.path(source, row)
        if not path.is_file():
            return False
        if _is_whole(path):
            return True
        log.warning("cached features %s are truncated or damaged; they are computed anew", path)
        return False

    def put(self, source: Any, row: int, features: np.ndarray, count: np.ndarray) -> None:
        """Store (R, C) float32 features and the (R,) float32 pixels behind each row."""
        with atomic_write(self.path(source, row)) as stream:
            np.save(stream, np.concatenate([features, count[:, None]], axis=1).astype(np.float32))

    @spanned("cached teacher features")
    def get(self, source: Any, row: int) -> tuple[np.ndarray, np.ndarray]:
        """(R, C) float32 features and (R,) float32 counts.

        Raises:
            FileNotFoundError: the features were not computed, or images or region maps have changed since.
            CorruptSample: the file is damaged.
        """
        path = self.path(source, row)
        try:
            stored = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"no teacher features of keyframe {source.sample_token(row)}: expected {path}. They are "
                "computed at the start of `lidardistill pretrain`, so run it again with the same config"
            ) from None
        except (ValueError, EOFError, OSError) as error:
            raise CorruptSample(
                f"cached features {path} cannot be read ({error}): run the same command again, which "
                "computes them anew"
            ) from error
        return stored[:, :-1], stored[:, -1]


def _is_whole(path: Path) -> bool:
    """True if a .npy file has the length that its header states."""
    try:
        with path.open("rb") as stream:
            if np.lib.format.read_magic(stream) != (1, 0):
                return False
            shape, _, kind = np.lib.format.read_array_header_1_0(stream)
            expected = stream.tell() + int(np.prod(shape)) * kind.itemsize
            return len(shape) == 2 and path.stat().st_size == expected
    except (ValueError, EOFError, OSError):
        return False


def feature_key(
    teacher: BaseModel, superpixels: SuperpixelConfig, images: ImageConfig, image_size: tuple[int, int]
) -> str:
    """Digest of everything that pooled features depend on, besides the files of their keyframe.

    Args:
        teacher: its config. The digest reads the contents of its files and folders, not their names.
        superpixels: settings of the regions, without the folder of their cache.
        images: resolution of the images, without their cache.
        image_size: height, width that the teacher sees, pixels.
    """
    options = teacher.model_dump(mode="json")
    named = {key: value for key, value in options.items() if isinstance(value, str) and key != "kind"}
    contents = {key: digest_of(Path(value)) for key, value in named.items() if Path(value).exists()}
    values = {
        "format": FORMAT,
        "teacher": options | contents,
        "superpixels": superpixels.model_dump(exclude={"cache", "masks"}),
        "masks": superpixels.masks is not None,
        "images": images.model_dump(exclude={"cache"}),
        "image_size": image_size,
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def store_of(parts: Parts) -> FeatureStore:
    """Pooled features of a run; every run with the same teacher and the same images shares them."""
    assert parts.teacher_cache is not None
    assert parts.teacher is not None
    data = parts.data
    key = feature_key(parts.teacher, data.superpixels, data.images, data.augment.image_size)
    return FeatureStore(parts.teacher_cache, key, data.superpixels.masks)


@dataclass(frozen=True)
class StoredFeatures:
    """Cached features of a keyframe, or, as a control, of another keyframe.

    Attributes:
        store: holds them.
        of_another: read the features of the keyframe half a run away, which shows another street.
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
        return self.store.get(source, row)


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
        store: receives the features.
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
    missing = np.array([row for row in rows.tolist() if not store.has(source, row)], np.int64)
    if len(missing) == 0:
        return 0
    readable = _Readable(Keyframes(source, missing, recipe, seed=0, max_substitutes=0))
    log.info("computing the teacher's features of %d keyframes once, into %s", len(missing), store.folder)
    prepare_workers(readable, _collate_one, 1, num_workers)
    loader = make_loader(readable, OnceSampler(len(missing), 1), _collate_one, num_workers)
    computed = 0
    for done, batch in enumerate(loader, start=1):
        if isinstance(batch, _Unreadable):
            if on_unreadable is None:
                raise CorruptSample(f"sample {batch.token}: {batch.reason}")
            on_unreadable(batch.token, batch.reason)
        else:
            features, count = features_of(batch.to(device))
            row = int(missing[done - 1])
            store.put(source, row, features.cpu().numpy(), count.cpu().numpy())
            computed += 1
        if on_progress is not None:
            on_progress(done, len(missing))
    return computed


class _Unreadable(NamedTuple):
    """A keyframe that cannot be read, and the reason."""

    token: str
    reason: str


class _Readable(Dataset["PairSample | _Unreadable"]):
    """Keyframes without substitutes. Returns read errors, because a raised one would end the worker."""

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
