"""The list of data sets with labels. Pretraining imports neither this module nor any `labels/` folder."""

from __future__ import annotations

from lidardistill.datasets.base import Source
from lidardistill.datasets.labelled import Labels


def open_labels(source: Source) -> Labels:
    """Labels and judges of a data set; opens no file until one of its methods is called.

    Raises:
        ValueError: this kind of data set has no labels here.
    """
    if source.kind == "nuscenes":
        from lidardistill.datasets.nuscenes.labels.room import NuScenesLabels

        return NuScenesLabels(source)
    raise no_labels(source.kind)


def point_classes(kind: str) -> tuple[str, ...]:
    """Names of the point classes of a kind of data set; raises as `open_labels`."""
    if kind == "nuscenes":
        from lidardistill.datasets.nuscenes.lidarseg_classes import CLASSES

        return CLASSES[1:]
    raise no_labels(kind)


def box_classes(kind: str) -> tuple[str, ...]:
    """Names of the box classes of a kind of data set; raises as `open_labels`."""
    if kind == "nuscenes":
        from lidardistill.datasets.nuscenes.detection_classes import CLASSES

        return CLASSES
    raise no_labels(kind)


def no_labels(kind: str) -> ValueError:
    return ValueError(
        f"data.kind: data of kind {kind} serves pretraining only, because its labels are not read here; "
        "expected nuscenes"
    )
