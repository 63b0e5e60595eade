"""Arms of an experiment differ from the demo's recipe only in their listed changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidardistill.config.io import differing_keys
from lidardistill.demo.experiment import ARMS, finetune_config, pretrain_config, probe_config
from lidardistill.demo.stages import Stages
from lidardistill.methods.base import Parts
from lidardistill.methods.slidr.cached_features import store_of

WORLD, CACHE = Path("world"), Path("cache")


@pytest.mark.parametrize("arm", [name for name, changes in ARMS.items() if changes])
def test_an_arm_changes_what_it_says(arm: str) -> None:
    plain = pretrain_config(WORLD, CACHE, "pretrained", 0).model_dump(mode="json")
    changed = differing_keys(plain, pretrain_config(WORLD, CACHE, arm, 0).model_dump(mode="json"))
    keys = {line.partition(":")[0].partition(".")[0] for line in changed}
    assert keys == set(ARMS[arm] or {})


def test_bevcontrast_has_the_network_and_the_world_of_the_others() -> None:
    plain, bev = (
        pretrain_config(WORLD, CACHE, arm, 3, max_steps=40) for arm in ("pretrained", "bevcontrast")
    )
    assert bev.method.kind == "bevcontrast"
    assert (bev.student, bev.voxels, bev.seed, bev.trainer.max_steps) == (plain.student, plain.voxels, 3, 40)
    assert bev.data.dataroot == plain.data.dataroot
    assert bev.teacher_cache is None


def test_random_does_not_pretrain() -> None:
    with pytest.raises(ValueError, match="does not pretrain"):
        pretrain_config(WORLD, CACHE, "random", 0)


def test_probe_and_finetuning_read_the_network_that_was_pretrained() -> None:
    trained = pretrain_config(WORLD, CACHE, "pretrained", 3)
    for judged in (probe_config(WORLD, 3), finetune_config(WORLD, 3)):
        assert (judged.student, judged.voxels, judged.seed) == (trained.student, trained.voxels, trained.seed)
        assert judged.data.dataroot == trained.data.dataroot


def test_teachers_do_not_share_cached_features() -> None:
    arms = ("pretrained", "color_histogram", "random_teacher")
    folders = {store_of(Parts.of(pretrain_config(WORLD, CACHE, arm, 0))).folder for arm in arms}
    assert len(folders) == 3
    same = {
        store_of(Parts.of(pretrain_config(WORLD, CACHE, arm, 1))).folder for arm in ("pretrained", "permuted")
    }
    assert len(same) == 1


def test_stages_add_up_and_know_their_memory() -> None:
    stages = Stages()
    with stages.stage("a"):
        held = bytearray(50_000_000)
    with stages.stage("a"):
        pass
    assert set(stages.seconds) == set(stages.memory_mb) == {"a"}
    assert stages.memory_mb["a"] > len(held) / 2**20
