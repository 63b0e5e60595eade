"""List of the LiDAR backbones. A new one needs a folder here and one line in `StudentConfig`."""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field

from lidardistill.backbones.lidar_bev.config import LidarBevConfig
from lidardistill.backbones.minkunet.config import MinkUNetConfig

StudentConfig = Annotated[MinkUNetConfig | LidarBevConfig, Field(discriminator="kind")]

STUDENT_KINDS: tuple[str, ...] = tuple(
    get_args(config.model_fields["kind"].annotation)[0] for config in get_args(get_args(StudentConfig)[0])
)
"""Kinds in `StudentConfig`."""
