"""One keyframe twice: with its images for one method, and beside a later scan for a term seen from above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset

from lidardistill.data.keyframes import SampleKey
from lidardistill.methods.bevcontrast.sample import (
    ScanPairBatch,
    ScanPairDataset,
    ScanPairSample,
    collate_scan_pairs,
)
from lidardistill.methods.slidr.sample import PairBatch, PairDataset, PairSample, collate_pairs


@dataclass
class JointSample:
    """Two samples of one keyframe, each augmented for itself."""

    images: PairSample
    scans: ScanPairSample


@dataclass(frozen=True)
class JointBatch:
    """Two batches of the same keyframes, one behind the other in the same order.

    Attributes:
        images: keyframes with their cameras.
        scans: the same keyframes as scan a of a pair of scans.
    """

    images: PairBatch
    scans: ScanPairBatch

    @property
    def sample_tokens(self) -> tuple[str, ...]:
        return self.images.sample_tokens

    @property
    def substitutes(self) -> tuple[tuple[str, str], ...]:
        """What could not be read for either, as (sample token, reason), each once."""
        return tuple(dict.fromkeys(self.images.substitutes + self.scans.substitutes))

    @property
    def batch_size(self) -> int:
        """Keyframes."""
        return self.images.batch_size

    def to(self, device: torch.device | str, non_blocking: bool = False) -> JointBatch:
        return JointBatch(self.images.to(device, non_blocking), self.scans.to(device, non_blocking))

    def pin_memory(self) -> JointBatch:
        """The same batch in page-locked memory; a DataLoader calls it where it is asked to pin."""
        return JointBatch(self.images.pin_memory(), self.scans.pin_memory())


class JointDataset(Dataset[JointSample]):
    """Two data sets that are asked for the same keyframe.

    A keyframe that only one of them can read is replaced for the other alone.

    Args:
        images: keyframes with their cameras; its samples are what they would be without the other's.
        scans: pairs of scans.

    Raises:
        ValueError: they do not have the same rows.
    """

    def __init__(self, images: PairDataset, scans: ScanPairDataset) -> None:
        if images.rows.tolist() != scans.rows.tolist():
            raise ValueError(
                f"images and scans: expected the same rows, got {len(images)} and {len(scans)} keyframes of which some differ"
            )
        self.images = images
        self.scans = scans
        self.superpixels = images.superpixels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: SampleKey) -> JointSample:
        """Both samples of a key; raises CorruptSample as either does."""
        return JointSample(self.images[key], self.scans[key])

    def warm_up(self) -> None:
        """Compile what one keyframe may not need and others do."""
        self.images.warm_up()


def collate_joint(samples: Sequence[JointSample]) -> JointBatch:
    """Collate each side for itself.

    Args:
        samples: at least one.

    Raises:
        ValueError: as `collate_pairs` and `collate_scan_pairs`.
    """
    return JointBatch(
        collate_pairs([sample.images for sample in samples]),
        collate_scan_pairs([sample.scans for sample in samples]),
    )
