"""One sweep, its regions, and two augmented views of both, for pretraining without cameras. No label is ever opened.

A sample is a pure function of (seed, epoch, position in that epoch), as that of `lidardistill.methods.slidr.sample`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch.utils.data import Dataset

from lidardistill.data.batch import Frame
from lidardistill.data.substitute import keyframe_rows, read_or_substitute
from lidardistill.data.voxel_input import VoxelSettings, voxelize_scan
from lidardistill.methods.calico_prc.batch import RegionViewSample
from lidardistill.methods.slidr.sample import SampleKey
from lidardistill.regions.sweep.clusters import ProposalSettings, propose_regions
from lidardistill.regions.sweep.sampling import sample_region_points


class SweepIndex(Protocol):
    """Whatever can read a keyframe: `NuScenesIndex`, or a few frames in memory."""

    def frame(self, row: int) -> Frame: ...

    def sample_token(self, row: int) -> str: ...


@dataclass(frozen=True)
class ViewAugment:
    """How a view is made of a sweep.

    Attributes:
        max_rotation_deg: the cloud is turned around z by an angle drawn from minus this to this (CALICO: 90).
        scale: x, y and z are multiplied by a factor drawn from this range (CALICO: 0.9 to 1.1).
        flip_x: x -> -x in every second view. CALICO's flips could not be read.
        flip_y: y -> -y in every second view.
    """

    max_rotation_deg: float = 90.0
    scale: tuple[float, float] = (0.9, 1.1)
    flip_x: bool = True
    flip_y: bool = True

    def __post_init__(self) -> None:
        low, high = self.scale
        if not (0 <= self.max_rotation_deg <= 180 and 0 < low <= high):
            raise ValueError(
                "view: expected max_rotation_deg in 0..180 and 0 < smallest <= largest scale, got "
                f"{self.max_rotation_deg} and {self.scale}"
            )


class RegionViewDataset(Dataset[RegionViewSample]):
    """Sweeps as CALICO's first stage sees them.

    Args:
        index: reads frames by index row.
        rows: (n,) index rows of this split; a key's last entry is a place in it.
        voxels: see `VoxelSettings`; cartesian, with a range, which is what the student's map covers.
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
        voxels: VoxelSettings,
        proposals: ProposalSettings,
        augment: ViewAugment,
        num_rich: int = 1024,
        num_plain: int = 1024,
        max_per_region: int = 32,
        seed: int,
        max_substitutes: int = 8,
    ) -> None:
        self.rows = keyframe_rows(rows)
        voxels.check_maps()
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
            views.append(voxelize_scan(cloud, self.voxels, lidar2ego=new2ego))
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


def draw_view(settings: ViewAugment, generator: np.random.Generator) -> np.ndarray:
    """(4, 4) float64 `new = view @ old`: a turn around z, then mirrors, then a scale of all three axes."""
    limit = np.radians(settings.max_rotation_deg)
    angle_rad = generator.uniform(-limit, limit)
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    view = np.eye(4)
    view[:2, :2] = ((c, -s), (s, c))
    for axis, flips in enumerate((settings.flip_x, settings.flip_y)):
        if flips and generator.random() < 0.5:
            view[axis] *= -1.0
    view[:3] *= generator.uniform(*settings.scale)
    return view


def move_cloud(points: np.ndarray, old2new: np.ndarray) -> np.ndarray:
    """(N, >=3) float32 points with x, y, z moved by (4, 4) `new = old2new @ old`; the other columns stay."""
    moved = points.copy()
    moved[:, :3] = points[:, :3].astype(np.float64) @ old2new[:3, :3].T + old2new[:3, 3]
    return moved
