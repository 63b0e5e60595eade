"""Keys of BEVContrast."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from lidardistill.config.base import check_whole_cells
from lidardistill.methods.config import MethodConfig, Run, TermConfig


class BEVContrastConfig(MethodConfig):
    """BEVContrast (3DV 2024). The defaults are the authors' for nuScenes with voxels of 0.1 m, rounded.

    embedding: width of the features of a cell.
    temperature: of InfoNCE.
    bev_range: x_min y_min x_max y_max of the maps, metres: 170 x 170 cells of six voxels; the first voxel is
        centred at -51.2 m. Points outside pass through the network but belong to no cell. Do not set
        `bev_range` or `cell_size` for a backbone that makes a map: it has its own cells.
    cell_size: metres.
    max_cells: largest number of cell pairs per step and process; a random subset is used if there are more.
    stride: distance of the two scans of a pair, in keyframes; 2 keyframes are one second.
    shift_std_m, shift_max_m: standard deviation of the Gaussian x/y shift of each scan, and its clipping
        limit, metres.
    rotate: also turn each scan around z by a random angle.
    warp: corrected uses the true positions of the cells; authors warps them as the published code does, as if
        the maps were centred on the sensor. The maps span -51.25 m to 50.75 m, so this misplaces positives by
        0.45 m on average (a cell is 0.6 m).
    batchnorm: joint normalises both scans of a pair together; separate calls the backbone once for each scan,
        as the published code does, which updates the running statistics twice a step.
    pairs: all pairs of a scene; or authors, which leaves out the last pair of each scene as the published
        code does.
    """

    trains: ClassVar[frozenset[str]] = frozenset({"points", "map"})

    kind: Literal["bevcontrast"]
    embedding: PositiveInt = 128
    temperature: PositiveFloat = 0.07
    bev_range: tuple[float, float, float, float] = (-51.25, -51.25, 50.75, 50.75)
    cell_size: PositiveFloat = 0.6
    max_cells: PositiveInt = 4096
    stride: PositiveInt = 2
    shift_std_m: NonNegativeFloat = 4.0
    shift_max_m: NonNegativeFloat = 15.0
    rotate: bool = True
    warp: Literal["corrected", "authors"] = "corrected"
    batchnorm: Literal["joint", "separate"] = "joint"
    pairs: Literal["all", "authors"] = "all"

    @model_validator(mode="after")
    def _range_holds_whole_cells(self) -> BEVContrastConfig:
        check_whole_cells(self.bev_range, self.cell_size)
        return self

    def check(self, run: Run) -> None:
        """Maps need cartesian voxels; the cells of a backbone's own map cannot be chosen."""
        if run.voxels.kind != "cartesian":
            raise ValueError(f"voxels.kind: {self.kind} needs cartesian voxels, got {run.voxels.kind}")
        if run.student.makes == "map":
            for name in ("bev_range", "cell_size"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(
                        f"{self.key}.{name}: the map of student.preset {run.student.preset} has its own "
                        "cells; remove it"
                    )


class BEVTermConfig(BEVContrastConfig, TermConfig):
    """BEVContrast as a second loss beside a method that sees cameras, on the same student.

    Keyframes without a partner `stride` later in their scene are left out, for the method too.
    """

    key: ClassVar[str] = "bev_term"
    prefix: ClassVar[str] = "bev_"

    kind: Literal["bevcontrast"] = "bevcontrast"
