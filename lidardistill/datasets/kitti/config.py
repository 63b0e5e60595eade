"""Keys of `data` for KITTI."""

from __future__ import annotations

from typing import Literal

from lidardistill.config.base import Strict


class KittiConfig(Strict):
    """KITTI's object benchmark.

    dataroot: folder with training/ (velodyne/, image_2/, calib/) and optionally testing/.
    missing: error raises an error for a missing picture or calibration; skip leaves out frames without one.
    """

    kind: Literal["kitti"]
    dataroot: str
    missing: Literal["error", "skip"] = "error"
