"""Config of teachers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from lidardistill.config.base import Strict


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
