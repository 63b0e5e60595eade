"""Kinds of data sets, and `open_source`, which opens one.

To add a kind: write a folder with its `Source`, and add a line to the three lists and to `open_source`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError, model_validator

from lidardistill.config.base import Strict
from lidardistill.datasets.kitti.config import KittiConfig
from lidardistill.datasets.nuscenes.config import NuScenesConfig

if TYPE_CHECKING:
    from lidardistill.datasets.base import Source

SourceConfig = NuScenesConfig | KittiConfig
Kind = Literal["nuscenes", "kitti"]

_CLASSES: dict[str, type[SourceConfig]] = {"nuscenes": NuScenesConfig, "kitti": KittiConfig}


class SourceKeys(Strict):
    """Kind and place of the data set: `data.kind`, `data.dataroot`, `data.version`, `data.missing`.

    version: folder of nuScenes' tables, default v1.0-trainval; KITTI has no version.
    missing: error, or skip to leave out scenes with missing files.
    """

    kind: Kind = "nuscenes"
    dataroot: str
    version: str | None = None
    missing: Literal["error", "skip"] = "error"

    @model_validator(mode="before")
    @classmethod
    def _keys_of_the_kind(cls, values: Any) -> Any:
        """Fill in the defaults of the kind; raises ValueError for `version` if the kind has none."""
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
        """Only the keys of the source."""
        room = _CLASSES[self.kind]
        return room.model_validate({key: getattr(self, key) for key in room.model_fields})


def source_config(
    kind: str, dataroot: Path | str, version: str | None = None, missing: str = "error"
) -> SourceConfig:
    """Config of a data set from command line options.

    Raises:
        ValueError: the kind is unknown, the kind has no versions, or `missing` is neither error nor skip.
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
        config: kind and place of the data set.
        cache_dir: folder for the index and other derived files; None takes the default of the data set.
        build: False raises FileNotFoundError if the index does not exist yet.

    Raises:
        FileNotFoundError: there is no such data set; the message shows the expected tree.
        ValueError: the tables of the data set are inconsistent.
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
    """Number of cameras of a keyframe, for a kind of data set."""
    return {"nuscenes": 6, "kitti": 1}[kind]
