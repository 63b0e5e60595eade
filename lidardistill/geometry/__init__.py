"""Geometry of points, voxels and pixels, in numpy and numba. Knows no torch, no data set and no network."""

from lidardistill.geometry.bev import planar_motion
from lidardistill.geometry.camera import intrinsics_to_cam2img, kitti_calibration, project
from lidardistill.geometry.projection import pair_points

# `rigid`, the function, is not here: it would hide `rigid`, the module.
from lidardistill.geometry.rigid import (
    check_rigid,
    invert_rigid,
    quaternion_to_rotation,
    rotation_to_quaternion,
    transform_points,
)
from lidardistill.geometry.views import Pairing
from lidardistill.geometry.visibility import splat_radius_px_m, visible_pairs
from lidardistill.geometry.voxels import Voxels, voxelize

__all__ = [
    "Pairing",
    "Voxels",
    "check_rigid",
    "intrinsics_to_cam2img",
    "invert_rigid",
    "kitti_calibration",
    "pair_points",
    "planar_motion",
    "project",
    "quaternion_to_rotation",
    "rotation_to_quaternion",
    "splat_radius_px_m",
    "transform_points",
    "visible_pairs",
    "voxelize",
]
