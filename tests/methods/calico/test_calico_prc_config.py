"""CALICO's first stage and the term seen from above: what the recipes say, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidardistill.config.io import dump_yaml, load_config
from lidardistill.tasks.pretrain.config import PretrainConfig

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "pretrain"
MAPS = (
    "student={kind: lidar_bev, preset: voxelnet_mini}",
    "voxels={kind: cartesian, voxel_size: [0.2, 0.2, 0.2], reduce: mean, "
    "point_cloud_range: [-51.2, -51.2, -5, 51.2, 51.2, 3]}",
)


def recipe(name: str, *overrides: str) -> PretrainConfig:
    return load_config(PretrainConfig, CONFIGS / f"{name}.yaml", overrides)


@pytest.mark.parametrize(
    ("name", "preset"), [("calico_prc_voxelnet", "voxelnet01"), ("calico_prc_pillars", "pillars02")]
)
def test_the_recipe_has_what_is_known_of_the_paper(name: str, preset: str) -> None:
    config = recipe(name)
    method = config.method
    assert (config.student.kind, config.student.preset) == ("lidar_bev", preset)
    assert (method.alpha, method.num_rich, method.num_plain) == (0.5, 1024, 1024)
    assert (method.regions.eps_m, method.regions.min_neighbors) == (0.75, 5)
    assert (method.max_rotation_deg, method.scale) == (90.0, (0.9, 1.1))
    assert (config.trainer.epochs, config.data.split) == (20, "train")
    assert config.voxels.point_features == ("x", "y", "z", "intensity", "time_lag")
    assert len(config.voxels.point_cloud_range) == 6


def test_a_resolved_config_reads_back(tmp_path: Path) -> None:
    for config in (recipe("calico_prc_pillars"), recipe("demo", "bev_term.weight=0.2")):
        path = tmp_path / "config.yaml"
        path.write_text(dump_yaml(config))
        assert load_config(PretrainConfig, path) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "student={kind: minkunet}",
            r"student\.kind: calico_prc trains backbones that make map, got minkunet, which makes points",
        ),
        ("method.alpha=1.5", r"method\.alpha.*got 1\.5"),
        ("method.scale=[1.1, 0.9]", r"method\.scale: expected smallest, largest, got \[1\.1, 0\.9\]"),
        ("method.max_rotation_deg=200", r"method\.max_rotation_deg"),
        ("method.regions.eps=0.5", r"unknown key 'method\.regions\.eps'; did you mean 'eps_m'"),
        ("method.regions.ground.ring_edges_m=[9, 3]", r"ring_edges_m: expected ascending distances, got \[9"),
        ("method.rotate=false", r"unknown key 'method\.rotate'"),
        ("teacher={kind: efficientnet_lite0}", r"teacher: calico_prc does not read it"),
        ("data.augment.rotate=false", r"data\.augment: calico_prc does not read it"),
        ("bev_term={weight: 0.5}", r"bev_term: calico_prc does not read it"),
        ("voxels.point_cloud_range=null", r"voxels\.point_cloud_range is missing"),
    ],
)
def test_what_does_not_fit_is_named(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe("calico_prc_voxelnet", override)


def test_bevcontrast_takes_the_cells_of_a_student_that_makes_maps() -> None:
    config = recipe("bevcontrast_voxelnet")
    assert (config.student.preset, config.voxels.voxel_size) == ("second01", (0.05, 0.05, 0.1))
    assert (config.data.batch_size, config.data.split, config.trainer.epochs) == (10, "slidr_train", 50)
    for override in ("method.cell_size=0.3", "method.bev_range=[-51, -51, 51, 51]"):
        with pytest.raises(
            ValueError, match=r"method\.\w+: the map of student\.preset second01 has its own cells"
        ):
            recipe("bevcontrast_voxelnet", override)


def test_the_term_is_bevcontrast_beside_a_method_with_cameras() -> None:
    term = recipe("demo", "bev_term={cell_size: 1.0, bev_range: [-51, -51, 51, 51]}").bev_term
    assert (term.weight, term.stride, term.max_cells, term.pairing) == (0.5, 2, 4096, "real")
    assert recipe("demo").bev_term is None
    for override, message in (
        ("bev_term={weight: -1}", r"bev_term\.weight"),
        ("bev_term={wieght: 1}", r"unknown key 'bev_term\.wieght'; did you mean 'weight'"),
        ("bev_term={cell_size: 0.7}", r"bev_term\.bev_range along x"),
    ):
        with pytest.raises(ValueError, match=message):
            recipe("demo", override)
    with pytest.raises(ValueError, match=r"voxels\.kind: bevcontrast needs cartesian voxels"):
        recipe("slidr_minkunet34", "bev_term={weight: 1}")
