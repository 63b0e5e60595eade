"""Configs: inheritance, overrides, and errors that name the key."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from lidardistill.config.base import Strict
from lidardistill.config.io import differing_keys, dump_yaml, load_config, validate
from lidardistill.regions.slic.slic import PRESETS
from lidardistill.regions.superpixels.config import SuperpixelConfig
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.segment.config import FinetuneConfig

BASE = """
name: base
data: {dataroot: somewhere}
teacher: {kind: efficientnet_lite0}
trainer: {max_steps: 10}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(BASE)
    return path


def test_defaults_are_slidr(base: Path) -> None:
    config = load_config(PretrainConfig, base)
    assert config.method.temperature == 0.07
    assert config.voxels.voxel_size == (0.1, 1.0, 0.1)
    assert config.optimizer.kind == "sgd"
    assert (config.optimizer.lr, config.optimizer.dampening) == (0.5, 0.1)
    assert (config.data.batch_size, config.data.superpixels.num_superpixels) == (4, 150)
    assert config.data.superpixels.preset == "exact"


def test_every_preset_of_slic_can_be_asked_for(base: Path) -> None:
    for preset in PRESETS:
        config = load_config(PretrainConfig, base, [f"data.superpixels.preset={preset}"])
        assert config.data.superpixels.preset == preset
    assert set(get_args(SuperpixelConfig.model_fields["preset"].annotation)) == set(PRESETS)
    with pytest.raises(ValueError, match=r"data\.superpixels\.preset.*'exact'"):
        load_config(PretrainConfig, base, ["data.superpixels.preset=exakt"])


def test_extends_holds_only_what_differs(base: Path) -> None:
    variant = base.with_name("variant.yaml")
    variant.write_text("extends: base.yaml\nname: variant\ndata: {batch_size: 2}\n")
    config = load_config(PretrainConfig, variant)
    assert (config.name, config.data.batch_size, config.data.dataroot) == ("variant", 2, "somewhere")


def test_another_kind_replaces_the_whole_mapping(base: Path) -> None:
    variant = base.with_name("variant.yaml")
    variant.write_text("extends: base.yaml\nteacher: {kind: resnet50, dilated: false}\n")
    teacher = load_config(PretrainConfig, variant).teacher
    assert teacher.kind == "resnet50"


def test_extends_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(ValueError, match="circle"):
        load_config(PretrainConfig, tmp_path / "a.yaml")


def test_overrides_win_and_keep_their_type(base: Path) -> None:
    config = load_config(PretrainConfig, base, ["optimizer.lr=1e-1", "data.augment.rotate=false", "seed=3"])
    assert (config.optimizer.lr, config.data.augment.rotate, config.seed) == (0.1, False, 3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lrr=1", r"unknown key 'optimizer.lrr'; did you mean 'lr'"),
        (
            "data.superpixels.compactnes=1",
            r"unknown key 'data.superpixels.compactnes'; did you mean 'compactness'",
        ),
        ("trainr.max_steps=1", r"unknown key 'trainr'; did you mean 'trainer'"),
        ("teacher.kind=resnet51", r"teacher: .*resnet50"),
        ("data.batch_size=true", r"data.batch_size: .*not true/false"),
        ("data.batch_size=0", r"data.batch_size: .*greater than 0"),
        ("trainer.epochs=3", r"exactly one of epochs and max_steps"),
        ("teacher_cache=somewhere", r"crop_images"),
        ("data.images.cache=somewhere", r"data\.images\.cache .*scale 2 or more .*got scale 1"),
        ("data.images={scale: 2, reduce: jpeg, cache: x}", r"data\.images\.cache .*reduce jpeg"),
        ("data.images.scale=3", r"data\.images\.scale"),
        ("batch", r"expected a\.b=value"),
        ("voxels.point_features=[]", r"point_features is empty"),
    ],
)
def test_a_wrong_key_or_value_is_named(base: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_config(PretrainConfig, base, [override])


def test_range_must_hold_whole_voxels(base: Path) -> None:
    with pytest.raises(ValueError, match="along x"):
        load_config(
            PretrainConfig,
            base,
            [
                "voxels={kind: cartesian, voxel_size: [0.3, 0.2, 0.2], "
                "point_cloud_range: [-50, -50, -5, 50, 50, 3]}"
            ],
        )


def test_missing_file_lists_its_neighbours(base: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"base\.yaml"):
        load_config(PretrainConfig, base.with_name("bas.yaml"))


def test_dump_reads_back_equal(base: Path) -> None:
    config = load_config(PretrainConfig, base)
    again = base.with_name("again.yaml")
    again.write_text(dump_yaml(config))
    assert load_config(PretrainConfig, again) == config


def test_differing_keys_are_dotted(base: Path) -> None:
    old = load_config(PretrainConfig, base).model_dump(mode="json")
    new = load_config(PretrainConfig, base, ["optimizer.lr=0.1"]).model_dump(mode="json")
    assert differing_keys(old, new) == ["optimizer.lr: 0.5 -> 0.1"]


def test_configs_are_frozen() -> None:
    values = {
        "name": "x",
        "data": {"dataroot": "y"},
        "teacher": {"kind": "resnet50"},
        "trainer": {"epochs": 1},
    }
    config = validate(PretrainConfig, values, "here")
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 4  # type: ignore[misc]


@pytest.mark.parametrize(("model", "name"), [(PretrainConfig, "pretrain"), (FinetuneConfig, "finetune")])
def test_a_warmup_longer_than_the_run_is_refused(model: type[Strict], name: str) -> None:
    path = Path(__file__).resolve().parents[2] / "configs" / name / "demo.yaml"
    with pytest.raises(
        ValueError, match=r"schedule\.warmup_steps must be below trainer\.max_steps = 5, got 9"
    ):
        load_config(model, path, ["trainer.max_steps=5", "schedule.warmup_steps=9"])
