"""Each method asks for its own parts, and refuses those of another."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidardistill.config.io import dump_yaml, load_config
from lidardistill.tasks.pretrain.config import PretrainConfig

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "pretrain"


def bevcontrast(*overrides: str) -> PretrainConfig:
    return load_config(PretrainConfig, CONFIGS / "bevcontrast_minkunet34.yaml", overrides)


def test_the_recipe_is_the_published_one() -> None:
    config = bevcontrast()
    method, voxels = config.method, config.voxels
    assert config.teacher is None
    assert (method.kind, method.embedding, method.temperature, method.max_cells) == (
        "bevcontrast",
        128,
        0.07,
        4096,
    )
    assert (method.stride, method.shift_std_m, method.shift_max_m, method.rotate) == (2, 4.0, 15.0, True)
    assert (voxels.kind, voxels.rounding, voxels.point_features) == ("cartesian", "round", ("intensity",))
    assert voxels.intensity_scale * 255 == pytest.approx(1.0)
    # Cells hold the voxels -512 + 6 k .. -507 + 6 k whole: a rounded voxel reaches half a voxel to each side.
    low, high = method.bev_range[0], method.bev_range[2]
    assert (high - low) / method.cell_size == pytest.approx(170)
    assert method.cell_size / voxels.voxel_size[0] == pytest.approx(6)
    assert low == pytest.approx((-512 - 0.5) * voxels.voxel_size[0])
    assert (config.student.bn_momentum, config.student.block_bn_momentum) == (0.1, 0.1)
    assert (config.optimizer.kind, config.optimizer.lr, config.optimizer.weight_decay) == (
        "adamw",
        1e-3,
        1e-3,
    )
    assert (config.schedule.warmup_share, config.schedule.final_share) == (0.05, 0.01)
    assert (config.trainer.epochs, config.data.batch_size, config.data.split) == (50, 24, "slidr_train")


def test_a_resolved_config_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(bevcontrast()))
    assert load_config(PretrainConfig, path) == bevcontrast()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("teacher={kind: efficientnet_lite0}", r"teacher: bevcontrast does not read it; remove it"),
        (
            "student={kind: lidar_bev, preset: voxelnet01}",
            r"voxels\.rounding: student\.preset voxelnet01 needs floor",
        ),
        ("teacher_cache=somewhere", r"teacher_cache: bevcontrast"),
        ("data.superpixels.cache=somewhere", r"data\.superpixels: bevcontrast"),
        ("data.augment.rotate=false", r"data\.augment: bevcontrast does not read it"),
        ("data.images={scale: 2}", r"data\.images: bevcontrast does not read it"),
        ("data.visibility=zbuffer", r"data\.visibility: bevcontrast"),
        ("voxels={kind: cylindrical}", r"voxels\.kind: bevcontrast needs cartesian voxels, got cylindrical"),
        (
            "method.cell_size=0.7",
            r"method\.bev_range along x: -51\.25 to 50\.75 m is no whole number of 0\.7 m",
        ),
        ("method.bev_range=[5, 0, 1, 6]", r"method\.bev_range along x"),
        ("method.max_cell=1", r"unknown key 'method\.max_cell'; did you mean 'max_cells'"),
        ("method.normalize=pixel", r"unknown key 'method\.normalize'"),
        ("method.pairing=other_keyframe", r"method\.pairing"),
    ],
)
def test_what_does_not_fit_is_named(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bevcontrast(override)


def test_slidr_needs_its_teacher() -> None:
    with pytest.raises(ValueError, match="key 'teacher' is missing: slidr"):
        load_config(PretrainConfig, CONFIGS / "slidr_minkunet34.yaml", ("teacher=null",))
    with pytest.raises(ValueError, match=r"unknown key 'method\.max_cells'"):
        load_config(PretrainConfig, CONFIGS / "slidr_minkunet34.yaml", ("method.max_cells=5",))
