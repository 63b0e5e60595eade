"""Config of superpixels."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from lidardistill.config.base import Strict


class SuperpixelConfig(Strict):
    """SLidR's SLIC by default, computed on the fly; `cache` keeps them, `masks` reads foreign ones."""

    num_superpixels: PositiveInt = 150
    compactness: PositiveFloat = 6.0
    sigma: PositiveFloat = 3.0
    preset: Literal["reference", "exact", "fast", "draft"] = "exact"
    scale: PositiveInt = 1
    cache: str | None = None
    masks: str | None = None
