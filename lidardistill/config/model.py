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
    point_features: tuple[Literal["intensity", "x", "y", "z", "range", "height"], ...] = ("intensity",)
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
