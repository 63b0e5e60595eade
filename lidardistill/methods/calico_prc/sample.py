"""One sweep, its regions, and two augmented views of both, for pretraining without cameras. No label is ever
opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lidardistill.data.batch import Batch, VoxelBatch
from lidardistill.data.collate import collate_voxels, offsets, sources_of
from lidardistill.data.frame import Frame
from lidardistill.data.keyframes import Recipe
from lidardistill.data.voxel_input import ScanInput, VoxelInput
from lidardistill.methods.calico_prc.config import PRCConfig
from lidardistill.regions.sweep.clusters import propose_regions
from lidardistill.regions.sweep.sampling import sample_region_points


@dataclass
class RegionViewSample:
    """One sweep in two views, each augmented for itself, in numpy.

    Attributes:
        sample_token: the requested keyframe.
        a: voxels of one view.
        b: voxels of the other.
        xy_a: (P, 2) float32 where the sampled points are in view a, metres, augmented LiDAR frame.
        xy_b: (P, 2) float32 where the same points are in view b.
        region: (P,) int64 region 0..num_regions-1 of each; meaningless where `region_mask` is False.
        region_mask: (P,) bool, False for semantic-less points.
        num_regions: regions that gave a point.
        substitutes: (sample token, reason) of keyframes that could not be read and that this one replaces.
    """

    sample_token: str
    a: VoxelInput
    b: VoxelInput
    xy_a: np.ndarray
    xy_b: np.ndarray
    region: np.ndarray
    region_mask: np.ndarray
    num_regions: int
    substitutes: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class RegionViewBatch(Batch):
    """Sweeps in two views: view a of sweep i is scan i of the voxels, view b of it is scan B + i.

    Attributes:
        voxels: 2 B scans.
        xy_a: (P, 2) float32 where the sampled points are in view a, metres, augmented LiDAR frame.
        xy_b: (P, 2) float32 where the same points are in view b.
        batch_idx: (P,) int64 sweep of each point, 0..B-1, ascending.
        num_points: B numbers, sampled points of each sweep.
        region: (P,) int64 region of each point, unique over the batch; meaningless where `region_mask` is
            False.
        region_mask: (P,) bool, False for semantic-less points.
        num_regions: regions of all sweeps that gave a point.
    """

    voxels: VoxelBatch
    xy_a: Tensor
    xy_b: Tensor
    batch_idx: Tensor
    num_points: tuple[int, ...]
    region: Tensor
    region_mask: Tensor
    num_regions: int


class FrameReader(Protocol):
    """Reads a keyframe."""

    def frame(self, row: int) -> Frame: ...


@dataclass(frozen=True)
class SweepInTwoViews(Recipe[RegionViewSample]):
    """Sweeps as CALICO's first stage reads them: the same points in two views, and the region of each.

    Attributes:
        config: how regions are found, points drawn and views made.
        scan_input: turns points into voxels: cartesian, with the range that the map of the student covers.

    Source: CALICO (Sun et al., ICLR 2024), section 3. `PRCConfig` names what the paper leaves open.
    """

    config: PRCConfig
    scan_input: ScanInput

    def sample(self, source: FrameReader, row: int, generator: np.random.Generator) -> RegionViewSample:
        frame, config = source.frame(row), self.config
        proposals = propose_regions(frame.points, config.regions)
        views, clouds = [], []
        for _ in range(2):
            old2new = draw_view(config, generator)
            cloud = move_cloud(frame.points, old2new)
            new2ego = frame.lidar2ego @ np.linalg.inv(old2new)
            views.append(self.scan_input.read(cloud, lidar2ego=new2ego))
            clouds.append(cloud)
        chosen = sample_region_points(
            proposals.region,
            proposals.region_mask,
            generator,
            num_rich=config.num_rich,
            num_plain=config.num_plain,
            max_per_region=config.max_per_region,
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

    def collate(self, samples: Sequence[RegionViewSample]) -> RegionViewBatch:
        """Concatenate sweeps: first all views a, then all views b; regions are renumbered.

        Args:
            samples: at least one; a sweep may have no points and no sampled points.

        Raises:
            ValueError: no samples, or views with different numbers of features.
        """
        sources = sources_of(samples)
        num_points = [len(s.region) for s in samples]
        first_region = offsets([s.num_regions for s in samples])
        region = np.concatenate([s.region + start for s, start in zip(samples, first_region, strict=False)])
        return RegionViewBatch(
            **sources,
            voxels=collate_voxels([s.a for s in samples] + [s.b for s in samples]),
            xy_a=torch.from_numpy(np.concatenate([s.xy_a for s in samples])),
            xy_b=torch.from_numpy(np.concatenate([s.xy_b for s in samples])),
            batch_idx=torch.from_numpy(np.repeat(np.arange(len(samples)), num_points)),
            num_points=tuple(num_points),
            region=torch.from_numpy(region),
            region_mask=torch.from_numpy(np.concatenate([s.region_mask for s in samples])),
            num_regions=int(first_region[-1]),
        )


def draw_view(config: PRCConfig, generator: np.random.Generator) -> np.ndarray:
    """(4, 4) float64 `new = view @ old`: a turn around z, then mirrors, then a scale of all three axes."""
    limit = np.radians(config.max_rotation_deg)
    angle_rad = generator.uniform(-limit, limit)
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    view = np.eye(4)
    view[:2, :2] = ((c, -s), (s, c))
    for axis, flips in enumerate((config.flip_x, config.flip_y)):
        if flips and generator.random() < 0.5:
            view[axis] *= -1.0
    view[:3] *= generator.uniform(*config.scale)
    return view


def move_cloud(points: np.ndarray, old2new: np.ndarray) -> np.ndarray:
    """(N, >=3) float32 points with x, y, z moved by (4, 4) `new = old2new @ old`; the other columns stay."""
    moved = points.copy()
    moved[:, :3] = points[:, :3].astype(np.float64) @ old2new[:3, :3].T + old2new[:3, 3]
    return moved
