"""Config of bevcontrast."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from lidardistill.config.base import Strict, check_whole_cells


class BEVContrastConfig(Strict):
    """BEVContrast (3DV 2024). The defaults are the authors' for nuScenes with voxels of 0.1 m, rounded.

    embedding: width of the features of a cell.
    bev_range: x_min y_min x_max y_max of the maps, metres: 170 x 170 cells of six voxels, the first of which are
        centred at -51.2 m. Points outside go through the network and into no cell. A student that makes maps
        (lidar_bev) has cells of its own, and neither this nor `cell_size` may be given.
    cell_size: metres.
    max_cells: pairs of cells of a step and process; drawn at random where there are more.
    stride: keyframes between the two scans of a pair; 2 is a second.
    shift_std_m, shift_max_m: each scan is shifted along x and y at random, clipped, metres ...
    rotate: ... and turned around z.
    pairing: real; or the control `permuted`, which re-draws the partner of each cell at every step.
    """

    needs_teacher: ClassVar[bool] = False
    sees_cameras: ClassVar[bool] = False
    students: ClassVar[tuple[str, ...]] = ("minkunet", "lidar_bev")

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
    pairing: Literal["real", "permuted"] = "real"

    @model_validator(mode="after")
    def _range_holds_whole_cells(self) -> BEVContrastConfig:
        check_whole_cells(self.bev_range, self.cell_size)
        return self


class BEVTermConfig(BEVContrastConfig):
    """BEVContrast as a further term of a method that sees cameras, on the same student.

    Keyframes without a partner `stride` later in their scene are left out, for the method too.

    weight: of the term's loss; the method's has 1. With 0 the term is not computed.
    """

    kind: Literal["bevcontrast"] = "bevcontrast"
    weight: NonNegativeFloat = 0.5
