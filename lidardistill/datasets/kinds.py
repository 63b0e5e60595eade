"""The kinds of data set.

To add one: a folder with its `Source`, a line in the three lists and one in `open_source`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError, model_validator

from lidardistill.config.base import Strict
from lidardistill.datasets.base import Source
from lidardistill.datasets.kitti.config import KittiConfig
from lidardistill.datasets.nuscenes.config import NuScenesConfig

SourceConfig = NuScenesConfig | KittiConfig
Kind = Literal["nuscenes", "kitti"]

_CLASSES: dict[str, type[SourceConfig]] = {"nuscenes": NuScenesConfig, "kitti": KittiConfig}


class SourceKeys(Strict):
    """Which data set, and where it lies. These keys stand beside the other keys of `data`.

    version: folder of nuScenes' tables, v1.0-trainval unless given; KITTI has none.
    missing: error, or skip to leave out the scenes whose files are not on disk.
    """

    kind: Kind = "nuscenes"
    dataroot: str
    version: str | None = None
    missing: Literal["error", "skip"] = "error"

    @model_validator(mode="before")
    @classmethod
    def _keys_of_the_kind(cls, values: Any) -> Any:
        """Take the defaults of the kind, and refuse a key that the kind does not have."""
        if not isinstance(values, dict):
            return values
        kind = values.get("kind", "nuscenes")
        if not isinstance(kind, str) or kind not in _CLASSES:
            return values
        room = _CLASSES[kind]
        if "version" not in room.model_fields:
            if values.get("version") is not None:
                raise ValueError(f".version: data of kind {kind} has no versions; remove it")
            return values
        return {**values, "version": values.get("version") or room.model_fields["version"].default}

    @property
    def source(self) -> SourceConfig:
        """The keys of the source alone."""
        room = _CLASSES[self.kind]
        return room.model_validate({key: getattr(self, key) for key in room.model_fields})


def source_config(
    kind: str, dataroot: Path | str, version: str | None = None, missing: str = "error"
) -> SourceConfig:
    """The source that options of a command line name; raises ValueError for an unknown kind or an option
    it lacks.
    """
    if kind not in _CLASSES:
        raise ValueError(f"--kind {kind}: expected {' or '.join(_CLASSES)}")
    values = {"kind": kind, "dataroot": str(dataroot), "missing": missing}
    if version is not None:
        if "version" not in _CLASSES[kind].model_fields:
            raise ValueError(f"--version {version}: data of kind {kind} has no versions; remove it")
        values["version"] = version
    try:
        return _CLASSES[kind].model_validate(values)
    except ValidationError as error:
        raise ValueError(f"--missing {missing}: expected error or skip") from error


def open_source(
    config: SourceConfig | SourceKeys,
    *,
    cache_dir: Path | None = None,
    build: bool = True,
) -> Source:
    """Open a data set.

    Args:
        config: its keys.
        cache_dir: folder for what is derived from the data set, such as an index; None takes the data set's
            own place.
        build: False to refuse where an index would have to be built first.

    Raises:
        FileNotFoundError: there is no such data set; the message shows the expected tree.
        ValueError: its tables contradict themselves.
    """
    keys = config.source if isinstance(config, SourceKeys) else config
    if keys.kind == "kitti":
        from lidardistill.datasets.kitti.source import KittiSource

        return KittiSource(keys.dataroot, missing=keys.missing)
    from lidardistill.datasets.nuscenes.source import NuScenesIndex

    return NuScenesIndex.open(
        keys.dataroot, keys.version, cache_dir=cache_dir, build=build, missing=keys.missing
    )


def cameras(kind: Kind) -> int:
    """Cameras of a keyframe, in data of a kind."""
    return {"nuscenes": 6, "kitti": 1}[kind]
