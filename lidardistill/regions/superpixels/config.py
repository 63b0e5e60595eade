"""Config of superpixels."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import PositiveFloat, PositiveInt, field_validator

from lidardistill.config.base import Strict


class SuperpixelConfig(Strict):
    """Superpixels of camera images: SLidR's SLIC by default, computed for each image when it is read.

    num_superpixels: requested number of SLIC regions; a view has room for twice as many.
    compactness: weight of position against colour; larger gives squarer regions.
    sigma: Gaussian smoothing of the image, pixels.
    preset: exact runs our kernels; reference runs scikit-image (same regions, 18 times slower).
    scale: whole factor of the image reduction before SLIC.
    cache: folder that keeps superpixels; fill it ahead with `lidardistill superpixels`.
    masks: folder of region maps that another program wrote; nothing is computed then.
    """

    num_superpixels: PositiveInt = 150
    compactness: PositiveFloat = 6.0
    sigma: PositiveFloat = 3.0
    preset: Literal["reference", "exact"] = "exact"
    scale: PositiveInt = 1
    cache: str | None = None
    masks: str | None = None

    @field_validator("preset", mode="before")
    @classmethod
    def _is_still_there(cls, value: Any) -> Any:
        if value in ("fast", "draft"):
            raise ValueError(
                f"the preset {value} was removed: remove this key, and set data.superpixels.cache to a "
                "folder, so that each image is segmented once"
            )
        return value
