"""Where the keyframes come from and what happens to them before the network."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lidardistill.config.base import Strict
from lidardistill.regions.superpixels.config import SuperpixelConfig


class ImageConfig(Strict):
    """At which resolution camera images are read before they are cropped; scale 1 is SLidR's way.

    `scale: 2` averages blocks of 2 x 2 pixels, and `cache` then keeps the averages, so that training decodes no JPEG
    (6.5 MB a keyframe of six 1600x900 images). `reduce: jpeg` decodes a reduced JPEG instead.
    """

    scale: Literal[1, 2, 4, 8] = 1
    reduce: Literal["area", "jpeg"] = "area"
    cache: str | None = None

    @model_validator(mode="after")
    def _cache_of_averages(self) -> ImageConfig:
        if self.cache is not None and (self.scale == 1 or self.reduce != "area"):
            raise ValueError(
                f"data.images.cache keeps averaged images: expected scale 2 or more and reduce area, got scale {self.scale} "
                f"and reduce {self.reduce}"
            )
        return self


class AugmentConfig(Strict):
    """Each step of SLidR's augmentation, on or off; `image_size` is what the teacher sees (height, width)."""

    image_size: tuple[PositiveInt, PositiveInt] = (224, 416)
    rotate: bool = True
    flip: bool = True
    drop_cuboid: bool = True
    crop_images: bool = True
    flip_images: bool = True


class PairDataConfig(Strict):
    """Keyframes for pretraining. No label file is opened."""

    dataroot: str
    version: str = "v1.0-trainval"
    split: str = "slidr_train"
    keyframes: PositiveInt | None = None
    visibility: Literal["none", "zbuffer"] = "none"
    superpixels: SuperpixelConfig = SuperpixelConfig()
    images: ImageConfig = ImageConfig()
    augment: AugmentConfig = AugmentConfig()
    batch_size: PositiveInt = 4
    num_workers: NonNegativeInt = 8
    max_corrupt: NonNegativeInt = 20


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
