"""The recipes of CALICO's second stage, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidardistill.config.io import dump_yaml, load_config
from lidardistill.tasks.pretrain.config import PretrainConfig

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "pretrain"


def rad(*overrides: str) -> PretrainConfig:
    return load_config(PretrainConfig, CONFIGS / "calico_rad_swin.yaml", overrides)


def test_the_recipe_is_what_is_known_of_the_paper() -> None:
    config = rad()
    assert (config.student.preset, config.method.camera.preset) == ("pillars02", "swin_t")
    assert (config.trainer.epochs, config.data.split) == (20, "train")
    assert (config.method.regions.eps_m, config.method.regions.min_neighbors) == (0.75, 5)
    assert (config.method.num_rich, config.method.num_plain) == (1024, 1024)
    assert (config.method.weighting, config.method.pairing) == ("region", "real")
    first = load_config(PretrainConfig, CONFIGS / "calico_prc_pillars.yaml")
    assert (config.voxels, config.student) == (first.voxels, first.student)
    assert config.method.regions == first.method.regions


def test_a_resolved_config_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(rad()))
    assert load_config(PretrainConfig, path) == rad()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("teacher={kind: efficientnet_lite0}", r"teacher: calico_rad does not read it"),
        ("teacher_cache=somewhere", r"teacher_cache: calico_rad does not read it"),
        ("bev_term={weight: 0.5}", r"bev_term: calico_rad does not read it"),
        ("data.superpixels.cache=somewhere", r"data\.superpixels: calico_rad does not read it"),
        ("data.augment.crop_images=true", r"data\.augment\.crop_images: calico_rad .*set it to false"),
        ("data.augment.drop_cuboid=true", r"data\.augment\.drop_cuboid: calico_rad .*set it to false"),
        (
            "student={kind: minkunet}",
            r"student\.kind: calico_rad trains backbones that make map, got minkunet, which makes points",
        ),
        ("method={kind: calico_rad}", r"key 'method\.lidar_weights' is missing"),
        ("method.weighting=box", r"method\.weighting"),
        ("method.camera.preset=maxi", r"method\.camera\.preset"),
        ("method.camera.depths=4", r"unknown key 'method\.camera\.depths'"),
        ("method.alpha=0.5", r"unknown key 'method\.alpha'"),
    ],
)
def test_what_does_not_fit_is_named(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rad(override)
