"""The LiDAR backbones that there are. A new one is a folder here and one line in `StudentConfig`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lidardistill.backbones.lidar_bev.config import LidarBevConfig
from lidardistill.backbones.minkunet.config import MinkUNetConfig

StudentConfig = Annotated[MinkUNetConfig | LidarBevConfig, Field(discriminator="kind")]
