"""Detection configs: what they refuse names the key.

CenterPoint's values are pinned in tests/contract/facts.yaml.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from lidardistill.config.io import dump_yaml, load_config
from lidardistill.tasks.detect.config import DetectConfig

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "detect"


def load(name: str = "demo", *overrides: str) -> DetectConfig:
    return load_config(DetectConfig, CONFIGS / f"{name}.yaml", overrides)


def test_it_reads_back_as_it_is_written(tmp_path) -> None:
    for name in ("demo", "demo_fusion", "nuscenes_fusion"):
        config = load(name)
        (tmp_path / "config.yaml").write_text(dump_yaml(config))
        assert load_config(DetectConfig, tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("demo", "data.label_procent=5", r"unknown key 'data.label_procent'; did you mean 'label_percent'"),
        ("demo", "data.label_percent=25", r"data.label_percent: .*5, 10, 20, 50 or 100, got 25"),
        ("demo", "head.widht=8", r"unknown key 'head.widht'; did you mean 'width'"),
        ("demo", "data.augment={scale: [1.1, 0.9]}", r"data.augment.scale: expected smallest, largest"),
        ("demo", "data.image_size=[10, 20]", r"data.image_size.*no `camera` to see them"),
        ("demo_fusion", "data.gt_sampling={}", r"data.gt_sampling: a pasted object stands in no image"),
        ("demo", "data.gt_sampling={counts: [1, 2]}", r"data.gt_sampling.counts"),
        ("demo", "student={kind: minkunet}", r"student.kind: "),
        ("demo", "voxels.reduce=first", r"voxels.reduce: student.preset voxelnet_mini needs mean, got first"),
        ("demo", "head.max_boxes=100", r"head.max_boxes: .*83, got 100"),
        (
            "demo",
            "schedule={kind: cosine, per: step, warmup_steps: 900}",
            r"warmup_steps must be below .*600",
        ),
    ],
)
def test_a_mistake_is_told_by_its_key(name: str, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(name, override)
