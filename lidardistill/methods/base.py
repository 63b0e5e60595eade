"""The contract between methods and everything that trains, shows or exports them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lidardistill.backbones.base import Backbone
from lidardistill.backbones.kinds import StudentConfig
from lidardistill.data.batch import VoxelBatch
from lidardistill.data.config import VoxelConfig
from lidardistill.data.keyframes import Recipe
from lidardistill.data.voxel_input import ScanInput
from lidardistill.datasets.config import PairDataConfig
from lidardistill.engine.terms import Terms
from lidardistill.methods.config import Run
from lidardistill.ops.bev_grid import BevGrid
from lidardistill.ops.bev_scatter import bev_scatter
from lidardistill.teachers.base import Teacher
from lidardistill.teachers.kinds import TeacherConfig

SHOWN_GRID = BevGrid.of_range((-51.2, -51.2, 51.2, 51.2), 0.4)
"""Cells in which a picture shows features of points, LiDAR frame, metres."""

Report = Callable[[int, int], None]
"""Called with (keyframes done, keyframes in all)."""


@dataclass(frozen=True)
class Parts:
    """The run, as far as a method reads it.

    Attributes:
        data: paths of the keyframes, and augmentation of images and clouds.
        voxels: voxel grid.
        student: config of the backbone.
        teacher: config of the image network, or None.
        teacher_cache: folder of cached teacher features, or None.
        scan_input: turns the points of a scan into the input of the student.
        new_student: builds the backbone with random weights; it draws from torch's generator.
        new_teacher: builds the frozen image network.
    """

    data: PairDataConfig
    voxels: VoxelConfig
    student: StudentConfig
    teacher: TeacherConfig | None
    teacher_cache: str | None
    scan_input: ScanInput
    new_student: Callable[[], Backbone]
    new_teacher: Callable[[], Teacher]

    @classmethod
    def of(cls, run: Run) -> Parts:
        """The parts of a run; nothing is built yet."""

        def new_teacher() -> Teacher:
            assert run.teacher is not None, "the config class of the method must have `teacher` in `needs`"
            return run.teacher.build()

        return cls(
            data=run.data,
            voxels=run.voxels,
            student=run.student,
            teacher=run.teacher,
            teacher_cache=run.teacher_cache,
            scan_input=run.student.scan_input(run.voxels),
            new_student=lambda: run.student.build(run.voxels),
            new_teacher=new_teacher,
        )


class JointSpace(NamedTuple):
    """A keyframe in the space where student and teacher meet.

    Attributes:
        points: (N, D) float32 unit rows, zero for points outside of the voxel grid.
        maps: (V, D, h, w) float32 maps of the teacher, not normalised.
    """

    points: np.ndarray
    maps: Tensor


class ShownMap(NamedTuple):
    """A bird's-eye-view map for a picture.

    Attributes:
        name: title of the picture.
        bev: (C, H = y, W = x).
        grid: its cells.
        head: (K, C) rows to the (K, D) rows that are drawn; None draws the map itself.
    """

    name: str
    bev: Tensor
    grid: BevGrid
    head: nn.Module | None = None


class Method(nn.Module):
    """One paper: a student, its teacher or second view, and a loss.

    Define a subclass in `methods/<name>/method.py` and list it in `methods.kinds.METHODS`.

    Attributes:
        student: the network that trains and that is exported.
        student_reads_scans: False if the student is a camera network.
    """

    student_reads_scans: ClassVar[bool] = True
    student: Any

    @classmethod
    def recipe(cls, config: Any, parts: Parts) -> Recipe[Any]:
        """How a keyframe becomes a sample, and samples a batch."""
        raise NotImplementedError

    @classmethod
    def build(cls, config: Any, parts: Parts) -> Method:
        """The method with random weights, drawn from torch's generator, which the caller has seeded."""
        raise NotImplementedError

    def forward(self, batch: Any, *, generator: torch.Generator, diagnose: bool = False) -> Terms:
        """One step.

        Args:
            batch: batch of the recipe, on the device.
            generator: on the CPU; the only source of random numbers.
            diagnose: also compute metrics of the features.
        """
        raise NotImplementedError

    def describe(self, batch: Any) -> list[str]:
        """Lines of the dry run about a batch: a name in 12 columns, then shapes and counts."""
        raise NotImplementedError

    def card(self) -> dict[str, Any]:
        """Keys of the run's config that have another value in the card of the exported weights; by default
        none."""
        return {}

    def prepare(
        self,
        recipe: Any,
        source: Any,
        rows: np.ndarray,
        *,
        num_workers: int = 0,
        on_progress: Report | None = None,
        on_unreadable: Callable[[str, str], object] | None = None,
    ) -> int:
        """Compute and store what training reads later, such as features of a frozen teacher; by default
        nothing.

        Args:
            recipe: recipe of the run.
            source: reads keyframes.
            rows: (n,) int64 rows of the run.
            num_workers: processes that read keyframes.
            on_progress: called with (keyframes done, keyframes in all).
            on_unreadable: called with (sample token, reason) of each keyframe that cannot be read and is left
                out; None raises the error.

        Returns:
            Keyframes that were computed now.
        """
        return 0

    def joint_space(self, batch: Any) -> JointSpace:
        """One keyframe in the space where student and teacher meet; raises ValueError if the method has
        none."""
        raise ValueError("this method compares no points with pixels, so there is no joint space to show")

    def shown_maps(self, voxels: VoxelBatch, xy: Tensor, cameras: dict[str, Any] | None) -> list[ShownMap]:
        """Maps of one keyframe for a picture; a student without a map gives the mean of its points in each
        cell.

        Args:
            voxels: one scan.
            xy: (N, 2) floating, its points, LiDAR frame, metres.
            cameras: arguments of `CameraBev`, or None if the method sees no camera.
        """
        features = self.student(voxels)
        if features.bev is not None:
            return [ShownMap("map of the pretrained network", features.bev[0], features.grid)]
        seen = features.point_mask.nonzero()[:, 0]
        scan = torch.zeros_like(seen)
        bev, _ = bev_scatter(features.at(seen), xy.index_select(0, seen), scan, SHOWN_GRID, 1)
        return [ShownMap("point features, averaged by cell", bev[0], SHOWN_GRID)]


def describe_scans(voxels: VoxelBatch) -> str:
    """Line of the dry run about the scans of a batch."""
    return (
        f"points      {len(voxels.point2voxel)} of {voxels.batch_size} scans in {len(voxels.features)} "
        "voxels of "
        f"{voxels.spatial_shape} cells (z, y, x)"
    )
