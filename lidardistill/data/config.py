"""Where the keyframes come from and what happens to them before the network."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

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
    batch_size: PositiveInt = 16
    num_workers: NonNegativeInt = 8
    max_corrupt: NonNegativeInt = 20


class ScanDataConfig(Strict):
    """Labelled keyframes for probing and fine-tuning.

    Attributes:
        label_percent: share of the scenes of `train_split`, every k-th in database order.
        train_keyframes: at most so many labelled keyframes, evenly spread over those scenes.
    """

    dataroot: str
    version: str = "v1.0-trainval"
    train_split: str = "train"
    val_split: str = "val"
    label_percent: Literal[1, 5, 10, 25, 100] = 100
    train_keyframes: PositiveInt | None = None
    rotate: bool = True
    flip: bool = True
    batch_size: PositiveInt = 16
    num_workers: NonNegativeInt = 8
