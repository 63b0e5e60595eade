"""One sweep, its regions, and two augmented views of both, for pretraining without cameras. No label is ever opened.

A sample is a pure function of (seed, epoch, position in that epoch), as that of `lidardistill.methods.slidr.sample`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from torch.utils.data import Dataset

from lidardistill.data.augment import ViewAugment, draw_view, move_cloud
from lidardistill.data.frame import Frame
from lidardistill.data.keyframes import SampleKey
from lidardistill.data.substitute import keyframe_rows, read_or_substitute
from lidardistill.data.voxel_input import ScanInput
from lidardistill.methods.calico_prc.batch import RegionViewSample
from lidardistill.regions.sweep.clusters import ProposalSettings, propose_regions
from lidardistill.regions.sweep.sampling import sample_region_points


class SweepIndex(Protocol):
    """Whatever can read a keyframe: `NuScenesIndex`, or a few frames in memory."""

    def frame(self, row: int) -> Frame: ...

    def sample_token(self, row: int) -> str: ...


class RegionViewDataset(Dataset[RegionViewSample]):
    """Sweeps as CALICO's first stage sees them.

    Args:
        index: reads frames by index row.
        rows: (n,) index rows of this split; a key's last entry is a place in it.
        voxels: see `ScanInput`; cartesian, with a range, which is what the student's map covers.
        proposals: how the regions are found, in the sweep as it was measured.
        augment: how a view is made.
        num_rich: points of regions that are compared, at most (CALICO's N: 1024).
        num_plain: semantic-less points at most (CALICO's M: 1024).
        max_per_region: points of one region at most. CALICO is silent.
        seed: of all randomness here.
        max_substitutes: give up after so many keyframes in a row that cannot be read.

    Raises:
        ValueError: `rows` is empty, or the voxels are not cartesian or have no range.

    Source: CALICO (Sun et al., ICLR 2024), section 3. What the paper leaves open is named in `config.calico`.
    """

    def __init__(
        self,
        index: SweepIndex,
        rows: Sequence[int] | np.ndarray,
        *,
        voxels: ScanInput,
        proposals: ProposalSettings,
        augment: ViewAugment,
        num_rich: int = 1024,
        num_plain: int = 1024,
        max_per_region: int = 32,
        seed: int,
        max_substitutes: int = 8,
    ) -> None:
        self.rows = keyframe_rows(rows)
        self.index = index
        self.voxels = voxels
        self.proposals = proposals
        self.augment = augment
        self.num_rich = num_rich
        self.num_plain = num_plain
        self.max_per_region = max_per_region
        self.seed = seed
        self.max_substitutes = max_substitutes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: SampleKey) -> RegionViewSample:
        """Read one sweep, find its regions and make two views of it.

        Args:
            key: epoch, position in the epoch's order (they seed the randomness), place in `rows`.

        Returns:
            The sample, or that of a deterministic substitute with the reason in `substitutes`.

        Raises:
            CorruptSample: the keyframe, and `max_substitutes` others, cannot be read.
        """
        return read_or_substitute(self.index, self.rows, key, self.seed, self.max_substitutes, self._sample)

    def _sample(self, row: int, generator: np.random.Generator) -> RegionViewSample:
        frame = self.index.frame(row)
        proposals = propose_regions(frame.points, self.proposals)
        views, clouds = [], []
        for _ in range(2):
            old2new = draw_view(self.augment, generator)
            cloud = move_cloud(frame.points, old2new)
            new2ego = frame.lidar2ego @ np.linalg.inv(old2new)
            views.append(self.voxels.read(cloud, lidar2ego=new2ego))
            clouds.append(cloud)
        chosen = sample_region_points(
            proposals.region,
            proposals.region_mask,
            generator,
            num_rich=self.num_rich,
            num_plain=self.num_plain,
            max_per_region=self.max_per_region,
            eligible=views[0].point_mask & views[1].point_mask,
        )
        return RegionViewSample(
            sample_token=frame.sample_token,
            a=views[0],
            b=views[1],
            xy_a=clouds[0][chosen.idx, :2],
            xy_b=clouds[1][chosen.idx, :2],
            region=chosen.region_of,
            region_mask=chosen.rich_mask,
            num_regions=chosen.num_regions,
        )
