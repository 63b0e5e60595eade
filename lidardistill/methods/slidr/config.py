"""Keys of SLidR."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt

from lidardistill.methods.config import MethodConfig, Run


class SLidRConfig(MethodConfig):
    """SLidR (CVPR 2022). The defaults are those of the paper; every other value deviates from it.

    embedding: width of the space in which superpoints and superpixels are compared.
    temperature: of InfoNCE.
    normalize: pixel gives each pixel unit length before pooling (the paper); superpixel gives each superpixel
        unit length after pooling, so that the teacher's features can be computed once.
    unit_means: give the pooled features unit length again (the paper does not).
    symmetric: contrast superpixels with superpoints too (the paper has one direction).
    negatives: local, from this process (the paper); or global, from all processes.
    pairing: real; or a control: `permuted` draws the superpixel of each superpoint anew at every step,
        `other_keyframe` takes the teacher's features from another keyframe.

    If the student makes a map, each point has the features of its cell; SLidR's own VoxelNet code
    interpolates between cells.
    """

    reads: ClassVar[frozenset[str]] = frozenset(
        {
            "teacher",
            "teacher_cache",
            "bev_term",
            "data.superpixels",
            "data.augment",
            "data.images",
            "data.visibility",
        }
    )
    needs: ClassVar[frozenset[str]] = frozenset({"teacher"})
    trains: ClassVar[frozenset[str]] = frozenset({"points", "map"})

    kind: Literal["slidr"] = "slidr"
    embedding: PositiveInt = 64
    temperature: PositiveFloat = 0.07
    normalize: Literal["pixel", "superpixel"] = "pixel"
    unit_means: bool = False
    symmetric: bool = False
    negatives: Literal["local", "global"] = "local"
    pairing: Literal["real", "permuted", "other_keyframe"] = "real"  # type: ignore[assignment]

    def check(self, run: Run) -> None:
        """Cached features need images that never change."""
        if run.teacher_cache is None:
            if self.pairing == "other_keyframe":
                raise ValueError(
                    "method.pairing: other_keyframe takes cached features; set teacher_cache to a folder"
                )
            return
        if run.data.augment.crop_images or run.data.augment.flip_images:
            raise ValueError(
                "teacher_cache: the teacher's features are computed once, so data.augment.crop_images and "
                "data.augment.flip_images must be false"
            )
        if self.normalize != "superpixel":
            raise ValueError(
                "teacher_cache: pooled features are cached, so method.normalize must be superpixel"
            )
