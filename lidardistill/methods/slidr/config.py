"""Config of slidr."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt

from lidardistill.config.base import Strict


class SLidRConfig(Strict):
    """SLidR (CVPR 2022). The defaults are the paper's; every other value is a deviation.

    normalize: unit length for each pixel before pooling (the paper), or for each superpixel after it.
    unit_means: give the pooled features unit length again (the paper does not).
    symmetric: contrast superpixels with superpoints too (the paper has one direction).
    negatives: from this process (the paper) or from all of them.
    pairing: real; or a control: `permuted` re-draws the superpixel of each superpoint at every step,
        `other_keyframe` takes the teacher's features from another keyframe.
    """

    needs_teacher: ClassVar[bool] = True
    sees_cameras: ClassVar[bool] = True
    students: ClassVar[tuple[str, ...]] = ("minkunet",)

    kind: Literal["slidr"] = "slidr"
    embedding: PositiveInt = 64
    temperature: PositiveFloat = 0.07
    normalize: Literal["pixel", "superpixel"] = "pixel"
    unit_means: bool = False
    symmetric: bool = False
    negatives: Literal["local", "global"] = "local"
    pairing: Literal["real", "permuted", "other_keyframe"] = "real"
