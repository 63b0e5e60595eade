"""Keys of `data` for nuScenes."""

from __future__ import annotations

from typing import Literal

from lidardistill.config.base import Strict


class NuScenesConfig(Strict):
    """A root in nuScenes' format.

    dataroot: folder with samples/ and the folder of tables.
    version: name of the folder of tables, such as v1.0-trainval or v1.0-mini.
    missing: error raises an error for a missing scan or picture; skip leaves out every scene with a missing
        file, for users with only some of the ten parts of the data set.
    """

    kind: Literal["nuscenes"] = "nuscenes"
    dataroot: str
    version: str = "v1.0-trainval"
    missing: Literal["error", "skip"] = "error"
