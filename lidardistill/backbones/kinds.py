"""What is trained, and what teaches it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from lidardistill.config.base import Strict


class VoxelConfig(Strict):
    """How points become voxels and what each voxel carries."""

    kind: Literal["cylindrical", "cartesian"] = "cylindrical"
    voxel_size: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.1, 1.0, 0.1)
    rounding: Literal["floor", "round"] = "floor"
    point_cloud_range: tuple[float, float, float, float, float, float] | None = None
    point_features: tuple[Literal["intensity", "x", "y", "z", "range", "height", "time_lag"], ...] = (
        "intensity",
    )
    intensity_scale: PositiveFloat = 1.0
    reduce: Literal["first", "mean"] = "first"

    @model_validator(mode="after")
    def _range_holds_whole_voxels(self) -> VoxelConfig:
        if not self.point_features:
            raise ValueError(
                "voxels.point_features is empty: the network needs at least one, such as [intensity]"
            )
        if self.point_cloud_range is None:
            return self
        low, high = self.point_cloud_range[:3], self.point_cloud_range[3:]
        if self.kind == "cartesian":
            for axis, a, b, size in zip("xyz", low, high, self.voxel_size, strict=True):
                cells = (b - a) / size
                if b <= a or abs(cells - round(cells)) > 1e-4:
                    raise ValueError(
                        f"voxels.point_cloud_range along {axis}: {a} to {b} m is no whole number of {size} m voxels"
                    )
        return self


class MinkUNetConfig(Strict):
    kind: Literal["minkunet"] = "minkunet"
    preset: Literal["minkunet34", "minkunet18", "minkunet14", "mini"] = "minkunet34"
    bn_momentum: PositiveFloat = 0.05
    block_bn_momentum: PositiveFloat = 0.1


class LidarBevConfig(Strict):
    """A backbone whose output is a bird's-eye-view map. `voxels` says what its cells are, and must suit the preset."""

    kind: Literal["lidar_bev"]
    preset: Literal["voxelnet01", "voxelnet0075", "second01", "pillars02", "voxelnet_mini", "pillars_mini"]

    @property
    def is_pillars(self) -> bool:
        return self.preset.startswith("pillars")


StudentConfig = Annotated[MinkUNetConfig | LidarBevConfig, Field(discriminator="kind")]


def check_student(student: MinkUNetConfig | LidarBevConfig, voxels: VoxelConfig) -> None:
    """Refuse voxels that a bird's-eye-view backbone cannot read.

    Raises:
        ValueError: voxels that are not cartesian, have no range, are rounded, or do not stand as the preset needs them.
    """
    if isinstance(student, MinkUNetConfig):
        return
    wanted: dict[str, tuple[str, str]] = {
        "kind": (voxels.kind, "cartesian"),
        "rounding": (voxels.rounding, "floor"),
    }
    if not student.is_pillars:
        wanted["reduce"] = (voxels.reduce, "mean")
    for key, (got, expected) in wanted.items():
        if got != expected:
            raise ValueError(f"voxels.{key}: student.preset {student.preset} needs {expected}, got {got}")
    if voxels.point_cloud_range is None:
        raise ValueError(
            f"voxels.point_cloud_range is missing: student.preset {student.preset} makes a map of a fixed range, such as "
            "[-51.2, -51.2, -5.0, 51.2, 51.2, 3.0]"
        )
    if student.is_pillars and voxels.point_features[:3] != ("x", "y", "z"):
        raise ValueError(
            f"voxels.point_features: student.preset {student.preset} needs x, y, z first, got "
            f"{', '.join(voxels.point_features)}"
        )


class ResNet50TeacherConfig(Strict):
    kind: Literal["resnet50"] = "resnet50"
    weights: str | None = None
    dilated: bool = True


class EfficientNetTeacherConfig(Strict):
    kind: Literal["efficientnet_lite0", "random_efficientnet_lite0"] = "efficientnet_lite0"
    blocks: tuple[int, ...] = (4, 10, 15)
    stride: PositiveInt = 8


class ViTTeacherConfig(Strict):
    kind: Literal["dinov2", "dinov3"]
    weights: str


class ColorHistogramTeacherConfig(Strict):
    kind: Literal["color_histogram"]


TeacherConfig = Annotated[
    ResNet50TeacherConfig | EfficientNetTeacherConfig | ViTTeacherConfig | ColorHistogramTeacherConfig,
    Field(discriminator="kind"),
]
