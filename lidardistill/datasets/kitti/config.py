"""Keys of `data` that say which KITTI root is read."""

from __future__ import annotations

from typing import Literal

from lidardistill.config.base import Strict


class KittiConfig(Strict):
    """KITTI's object benchmark.

    dataroot: folder that holds training/ (velodyne/, image_2/, calib/) and perhaps testing/.
    missing: error reports a picture or calibration that is not on disk; skip leaves out every frame that
        lacks one.
    """

    kind: Literal["kitti"]
    dataroot: str
    missing: Literal["error", "skip"] = "error"
