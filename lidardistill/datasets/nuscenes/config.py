"""Keys of `data` that say which nuScenes root is read."""

from __future__ import annotations

from typing import Literal

from lidardistill.config.base import Strict


class NuScenesConfig(Strict):
    """A root in nuScenes' format.

    dataroot: folder that holds samples/ and the tables.
    version: name of the folder of tables, such as v1.0-trainval or v1.0-mini.
    missing: error reports a scan or picture that is not on disk; skip leaves out every scene that lacks one,
        for users who have some of the ten parts of the data set.
    """

    kind: Literal["nuscenes"] = "nuscenes"
    dataroot: str
    version: str = "v1.0-trainval"
    missing: Literal["error", "skip"] = "error"
