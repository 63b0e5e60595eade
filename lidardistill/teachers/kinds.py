"""List of the teachers. A new one needs a config class and one line here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lidardistill.teachers.config import (
    ColorHistogramTeacherConfig,
    EfficientNetTeacherConfig,
    ResNet50TeacherConfig,
    ViTTeacherConfig,
)

TeacherConfig = Annotated[
    ResNet50TeacherConfig | EfficientNetTeacherConfig | ViTTeacherConfig | ColorHistogramTeacherConfig,
    Field(discriminator="kind"),
]
