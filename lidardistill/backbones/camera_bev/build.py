"""Build of camera_bev."""

from __future__ import annotations

from lidardistill.backbones.camera_bev.config import CameraBevConfig
from lidardistill.backbones.camera_bev.net import CameraBev, build_camera_bev


def build_camera(config: CameraBevConfig) -> CameraBev:
    """The camera network with freshly drawn or published weights."""
    given = config.model_dump(exclude={"kind", "preset", "weights"}, exclude_none=True)
    return build_camera_bev(config.preset, config.weights, **given)
