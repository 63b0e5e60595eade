"""At run time, too: no method's samples open a file of labels, boxes or maps."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lidardistill.data.keyframes import Keyframes
from lidardistill.datasets.kinds import open_source, source_config
from lidardistill.datasets.label_kinds import open_labels
from lidardistill.methods.kinds import METHODS
from lidardistill.methods.of_run import recipe_of
from tests.support.kitti_root import write_kitti
from tests.support.tiny_configs import tiny_bevcontrast, tiny_calico, tiny_calico_rad, tiny_pretrain

LABEL_FILES = (
    "/lidarseg/",
    "/sample_annotation.json",
    "/instance.json",
    "/attribute.json",
    "/category.json",
    "/maps/",
    "/boxes-",
    "/label_2/",
)

CONFIGS = {
    "slidr": tiny_pretrain,
    "ppkt": lambda root: tiny_pretrain(root, None, "method={kind: ppkt}", "data.superpixels={}"),
    "bevcontrast": tiny_bevcontrast,
    "calico_prc": tiny_calico,
    "calico_rad": lambda root: tiny_calico_rad(root, "random"),
}


@contextmanager
def watched(root: Path) -> Iterator[list[str]]:
    """The label files below a root that are opened meanwhile."""
    opened: list[str] = []
    watching = True

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and str(arguments[0]).startswith(str(root)):
            name = str(arguments[0])[len(str(root)) :]
            if any(part in name for part in LABEL_FILES):
                opened.append(name)

    sys.addaudithook(hook)  # for good; `watching` turns it off
    try:
        yield opened
    finally:
        watching = False


@pytest.fixture
def world(detection_world, tmp_path):
    return shutil.copytree(
        detection_world, tmp_path / "world", ignore=shutil.ignore_patterns(".lidardistill")
    )


@pytest.mark.parametrize("kind", sorted(METHODS))
def test_samples_of_a_method_open_no_label_file(kind, world):
    config = CONFIGS[kind](world)
    with watched(world) as opened:
        source = open_source(config.data)
        recipe = recipe_of(config)
        rows = recipe.rows(source, source.rows_of_split(config.data.split))
        samples = Keyframes(source, rows, recipe.of_run(rows), seed=0)
        for place in (0, len(rows) - 1):
            recipe.collate([samples[0, place, place]])
    assert opened == []


def test_the_watch_sees_labels_boxes_and_maps(world):
    source = open_source(source_config("nuscenes", world, "v1.0-mini"))
    labels = open_labels(source)
    with watched(world) as opened:
        labels.points().read(0)
        labels.boxes().read(0)
    assert [any(part in name for name in opened) for part in LABEL_FILES[:5]] == [True] * 5


def test_kitti_frames_open_no_label_file(tmp_path):
    root = write_kitti(tmp_path / "kitti")
    (root / "training" / "label_2").mkdir()
    (root / "training" / "label_2" / "000000.txt").write_text("Car 0 0 0 0 0 9 9 1 1 1 0 0 9 0\n")
    with watched(root) as opened:
        source = open_source(source_config("kitti", root))
        source.frame(0)
    assert opened == []
