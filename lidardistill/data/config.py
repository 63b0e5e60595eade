"""Config of images, augmentation and voxels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lidardistill.config.base import Strict

Share = Annotated[float, Field(ge=0, le=1)]


class ImageConfig(Strict):
    """Resolution of the camera images before cropping.

    scale: divides height and width; 1, SLidR's, reads the whole resolution.
    reduce: area averages blocks of scale x scale pixels; jpeg decodes a reduced JPEG, which costs a third
        less than full decoding and is close to the average. `data.image_cache` describes the effect of a
        scale above 1.
    cache: folder of averaged images, so that training decodes no JPEG (6.5 MB for a keyframe of six 1600x900
        images at scale 2). The cache does not change any pixel.
    """

    scale: Literal[1, 2, 4, 8] = 1
    reduce: Literal["area", "jpeg"] = "area"
    cache: str | None = None

    @model_validator(mode="after")
    def _cache_of_averages(self) -> ImageConfig:
        if self.cache is not None and (self.scale == 1 or self.reduce != "area"):
            raise ValueError(
                f"data.images.cache keeps averaged images: expected scale 2 or more and reduce area, got "
                f"scale {self.scale} and reduce {self.reduce}"
            )
        return self


class AugmentConfig(Strict):
    """SLidR's augmentation of the cloud and of the images. The defaults are SLidR's values.

    image_size: height and width of the network's images, pixels.
    rotate: turn the cloud around the z axis by a random angle.
    flip: mirror the cloud at random: x -> -x, and y -> -y, each with probability 0.5.
    drop_cuboid: drop the points inside one cuboid around a random point.
    cuboid_max_share: largest side of the cuboid, as a share of the extent of the cloud on that axis.
    cuboid_min_pairs: keep the cuboid if any view would be left with fewer pairs than this.
    crop_images: cut a random window out of each image; false resizes the whole image.
    crop_area: smallest and largest area of the window, as a share of the image.
    crop_aspect: smallest and largest width / height of the window, drawn log-uniformly.
    crop_min_pairs, crop_min_share: accept a window that keeps more pairs than `crop_min_pairs`, or a larger
        share of the pairs of its view than `crop_min_share`; else draw again.
    flip_images: mirror each image left to right with probability 0.5.
    """

    image_size: tuple[PositiveInt, PositiveInt] = (224, 416)
    rotate: bool = True
    flip: bool = True
    drop_cuboid: bool = True
    cuboid_max_share: Share = 0.2
    cuboid_min_pairs: NonNegativeInt = 1024
    crop_images: bool = True
    crop_area: tuple[Share, Share] = (0.3, 1.0)
    crop_aspect: tuple[PositiveFloat, PositiveFloat] = (14 / 9, 17 / 9)
    crop_min_pairs: NonNegativeInt = 1024
    crop_min_share: Share = 0.75
    flip_images: bool = True

    @model_validator(mode="after")
    def _ranges_rise(self) -> AugmentConfig:
        for name in ("crop_area", "crop_aspect"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f".{name}: expected 0 < smallest <= largest, got {[low, high]}")
        return self

    def still(self) -> AugmentConfig:
        """Return a config with the same image size and without random steps."""
        steps = ("rotate", "flip", "drop_cuboid", "crop_images", "flip_images")
        return self.model_copy(update=dict.fromkeys(steps, False))


class VoxelConfig(Strict):
    """Voxel grid, and features of a voxel. SLidR's values are the defaults.

    kind: cylindrical (rho, phi, z) or cartesian (x, y, z).
    voxel_size: metres; with cylindrical voxels metres, degrees, metres.
    rounding: floor (SLidR) or round (SuperFlow, BEVContrast).
    point_cloud_range: x_min y_min z_min x_max y_max z_max, metres; null keeps every point.
    point_features: input channels of the backbone, in this order. intensity is the stored value times
        `intensity_scale`; x, y, z lie in the augmented cloud, metres; range is the distance from the sensor,
        metres; height is z in the ego frame, about metres above the road; time_lag is the age in seconds
        before the keyframe, 0 for points of four columns.
    intensity_scale: 1.0 gives nuScenes' 0..255, as in SLidR.
    reduce: first takes the features of the first point of a voxel in file order, as SLidR does
        (MinkowskiEngine on the CPU); mean averages them.
    """

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
                        f"voxels.point_cloud_range along {axis}: {a} to {b} m is no whole number of "
                        f"{size} m voxels"
                    )
        return self
