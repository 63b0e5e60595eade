"""Keys of `data` for pretraining."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from lidardistill.data.config import AugmentConfig, ImageConfig
from lidardistill.datasets.kinds import SourceKeys
from lidardistill.regions.superpixels.config import SuperpixelConfig


class PairDataConfig(SourceKeys):
    """Keyframes for pretraining. Pretraining opens no label file.

    split: a split of the data set, `all`, or a .txt file with one scene (KITTI: one frame) in each line.
    """

    split: str = "slidr_train"
    keyframes: PositiveInt | None = None
    visibility: Literal["none", "zbuffer"] = "none"
    superpixels: SuperpixelConfig = SuperpixelConfig()
    images: ImageConfig = ImageConfig()
    augment: AugmentConfig = AugmentConfig()
    batch_size: PositiveInt = 4
    num_workers: NonNegativeInt = 8
    max_corrupt: NonNegativeInt = 20
