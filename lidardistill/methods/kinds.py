"""Which paper is run, and where it is left."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lidardistill.methods.bevcontrast.config import BEVContrastConfig
from lidardistill.methods.calico_prc.config import PRCConfig
from lidardistill.methods.calico_rad.config import RADConfig
from lidardistill.methods.slidr.config import SLidRConfig

MethodConfig = Annotated[SLidRConfig | BEVContrastConfig | PRCConfig | RADConfig, Field(discriminator="kind")]
