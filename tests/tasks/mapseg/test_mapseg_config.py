"""Map segmentation's config: what contradicts itself stops within a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidardistill.config.io import load_config
from lidardistill.tasks.mapseg.config import MapClass, MapSegConfig

DEMO = Path(__file__).resolve().parents[3] / "configs" / "mapseg" / "demo.yaml"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "maps.cell_size=0.7",
            r"maps\.bev_range along x: -50\.0 to 50\.0 m is no whole number of 0\.7 m cells",
        ),
        (
            "maps.bev_range=[-60, -50, 50, 50]",
            r"maps\.bev_range: .*must lie inside voxels\.point_cloud_range",
        ),
        ("maps.classes=[walkway, walkway]", r"maps\.classes: expected at least one, each once"),
        ("maps.classes=[]", r"maps\.classes: expected at least one"),
        ("maps.classes=[canal]", r"maps\.classes\.0"),
        ("voxels.reduce=first", r"voxels\.reduce: student\.preset voxelnet_mini needs mean"),
        (
            "schedule={kind: cosine, warmup_steps: 300}",
            r"warmup_steps must be below trainer\.max_steps = 300",
        ),
        ("student.kind=minkunet", r"student"),
        ("data.label_percent=7", r"data\.label_percent"),
        ("gama=1", r"unknown key 'gama'; did you mean 'gamma'"),
    ],
)
def test_contradictions(override, message):
    with pytest.raises(ValueError, match=message):
        load_config(MapSegConfig, DEMO, [override])


def test_the_classes_are_those_that_can_be_drawn():
    from typing import get_args

    from lidardistill.datasets.nuscenes.labels.map_masks import CLASSES

    assert get_args(MapClass) == CLASSES
