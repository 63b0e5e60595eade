"""The one list of data sets with labels. Pretraining imports neither this module nor a room's labels."""

from __future__ import annotations

from lidardistill.datasets.base import Source
from lidardistill.datasets.labelled import Labels


def open_labels(source: Source) -> Labels:
    """Labels of a data set; nothing is opened until a part is asked for.

    Raises:
        ValueError: data of this kind has no labels here.
    """
    if source.kind == "nuscenes":
        from lidardistill.datasets.nuscenes.labels.room import NuScenesLabels

        return NuScenesLabels(source)
    raise no_labels(source.kind)


def point_classes(kind: str) -> tuple[str, ...]:
    """Names of the classes that points are labelled with, in data of a kind; raises as `open_labels`."""
    if kind == "nuscenes":
        from lidardistill.datasets.nuscenes.lidarseg_classes import CLASSES

        return CLASSES[1:]
    raise no_labels(kind)


def box_classes(kind: str) -> tuple[str, ...]:
    """Names of the classes of boxes, in data of a kind; raises as `open_labels`."""
    if kind == "nuscenes":
        from lidardistill.datasets.nuscenes.detection_classes import CLASSES

        return CLASSES
    raise no_labels(kind)


def no_labels(kind: str) -> ValueError:
    return ValueError(
        f"data.kind: data of kind {kind} serves pretraining only, because its labels are not read here; "
        "expected nuscenes"
    )
