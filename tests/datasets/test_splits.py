"""Scene lists of the splits: sizes, disjointness, and that nobody edits them unnoticed."""

from __future__ import annotations

import hashlib

import pytest

from lidardistill.datasets.fractions import label_fraction
from lidardistill.datasets.nuscenes.splits import SPLITS, official_scenes, scenes_of_split

SIZES = {
    "train": 700,
    "val": 150,
    "test": 150,
    "mini_train": 8,
    "mini_val": 2,
    "slidr_train": 600,
    "slidr_val": 100,
}
GOLDEN = {
    "train": "182d90e54953d7b0",
    "val": "9c6d87239035bbd3",
    "test": "9e0f5aba17a92e17",
    "mini_train": "c849f160715c4c6f",
    "mini_val": "12657200a28a6a68",
    "slidr_train": "c71278e08833e414",
    "slidr_val": "f51e524c7ee388b3",
}


def digest(name: str) -> str:
    return hashlib.sha256("\n".join(official_scenes(name)).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", SPLITS)
def test_a_list_has_its_official_size_and_content(name: str) -> None:
    scenes = official_scenes(name)
    assert len(scenes) == len(set(scenes)) == SIZES[name]
    assert list(scenes) == sorted(scenes)
    assert digest(name) == GOLDEN[name]


def test_splits_do_not_overlap() -> None:
    train, val, test = (set(official_scenes(name)) for name in ("train", "val", "test"))
    assert not train & val
    assert not train & test
    assert not val & test
    slidr_train, slidr_val = set(official_scenes("slidr_train")), set(official_scenes("slidr_val"))
    assert not slidr_train & slidr_val
    assert slidr_train | slidr_val == train
    mini_train, mini_val = set(official_scenes("mini_train")), set(official_scenes("mini_val"))
    assert not mini_train & mini_val
    # two scenes of mini_train (0553, 0796) are in the official val: the mini split is not a part of the big
    # one
    assert len(mini_train - train) == 2
    assert mini_train <= train | val
    assert mini_val <= val


@pytest.mark.parametrize("name", ["train", "val", "test", "mini_train", "mini_val"])
def test_the_lists_are_the_devkits(name: str) -> None:
    devkit = pytest.importorskip("nuscenes.utils.splits")
    assert set(official_scenes(name)) == set(getattr(devkit, name))


def test_scenes_come_in_database_order() -> None:
    database = ["scene-0916", "scene-0655", "scene-0061", "scene-0103", "mine"]
    assert scenes_of_split("mini_train", database) == ("scene-0655", "scene-0061")
    assert scenes_of_split("slidr_train", database) == ("scene-0655", "scene-0061")


def test_an_unknown_split_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown split 'slidr_trian'.*mini_val.*'slidr_train'\?"):
        scenes_of_split("slidr_trian", ["scene-0061"])


def test_a_split_without_scenes_here_says_which_have_some() -> None:
    with pytest.raises(
        ValueError, match=r"'slidr_val': none of its 100 .* here: train, mini_train, slidr_train, all\."
    ):
        scenes_of_split("slidr_val", ["scene-0061"])


@pytest.mark.parametrize(
    ("percent", "count"), [(1, 7), (5, 35), (10, 70), (20, 140), (25, 175), (50, 350), (100, 700)]
)
def test_label_fractions_of_the_official_train(percent: int, count: int) -> None:
    scenes = official_scenes("train")
    kept = label_fraction(scenes, percent)
    assert len(kept) == count
    assert kept[0] == scenes[700 // count - 1]  # counted from 1: the 100th, not the first


@pytest.mark.parametrize(("percent", "count"), [(1, 6), (5, 30), (10, 60), (25, 150)])
def test_label_fractions_of_slidrs_train(percent: int, count: int) -> None:
    assert len(label_fraction(official_scenes("slidr_train"), percent)) == count


def test_a_fraction_that_keeps_nothing_says_what_works() -> None:
    with pytest.raises(ValueError, match=r"1 % .* has 8: .* work here: 20, 25, 50, 100\."):
        label_fraction(official_scenes("mini_train"), 1)


def test_an_unknown_fraction() -> None:
    with pytest.raises(ValueError, match="1, 5, 10, 20, 25, 50, 100, got 30"):
        label_fraction(official_scenes("train"), 30)


def test_a_small_split_may_keep_its_last_scene() -> None:
    scenes = official_scenes("mini_train")
    assert label_fraction(scenes, 10, at_least_one=True) == scenes[-1:]
    assert label_fraction(scenes, 5, at_least_one=True) == scenes[-1:]
    assert label_fraction(scenes, 25, at_least_one=True) == label_fraction(scenes, 25) == scenes[3::4]
