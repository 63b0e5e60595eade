"""Splits of nuScenes: the official splits and SLidR's hold-out.

Source: nuScenes (train 700, val 150, test 150, mini 8 + 2). SLidR's code holds out 100 scenes of the official
train split, `slidr_val` ("verifying"), and pretrains on the other 600, `slidr_train` ("parametrizing"). The
lists are in `split_lists/nuscenes.json` as scene numbers.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from lidardistill.datasets.listed import ALL, is_list_file, listed_names

SPLITS: tuple[str, ...] = ("train", "val", "test", "mini_train", "mini_val", "slidr_train", "slidr_val")
"""Names of the splits for `scenes_of_split`."""


@cache
def official_scenes(name: str) -> tuple[str, ...]:
    """All scenes of a split, present or not, by ascending number.

    Args:
        name: one of `SPLITS`.

    Returns:
        Scene names, such as scene-0061.

    Raises:
        ValueError: the split is unknown; the message names the nearest.
    """
    if name not in SPLITS:
        near = difflib.get_close_matches(name, SPLITS, n=1, cutoff=0.0)
        raise ValueError(
            f"unknown split {name!r}: expected one of {', '.join(SPLITS)}, all, or a .txt file with a scene "
            f"name a line. Did you mean {near[0]!r}?"
        )
    lists = json.loads(
        files("lidardistill.datasets.nuscenes").joinpath("split_lists/nuscenes.json").read_text()
    )
    if name == "slidr_train":
        held_out = set(lists["slidr_val"])
        numbers = [number for number in lists["train"] if number not in held_out]
    else:
        numbers = lists[name]
    return tuple(f"scene-{number:04d}" for number in numbers)


def scenes_of_split(name: str, database_scene_names: Sequence[str]) -> tuple[str, ...]:
    """Scenes of a split in a database.

    Args:
        name: one of `SPLITS`, `all`, or a text file with one scene name in each line.
        database_scene_names: all scenes of the database, in its own order (`NuScenesIndex.scene_names`).

    Returns:
        Scene names in database order, at least one.

    Raises:
        FileNotFoundError: the list file does not exist.
        ValueError: the split is unknown, or none of its scenes is in the database.
    """
    if name == ALL:
        return tuple(database_scene_names)
    if is_list_file(name):
        return listed_names(name, database_scene_names, "scene")
    wanted = set(official_scenes(name))
    found = tuple(scene for scene in database_scene_names if scene in wanted)
    if not found:
        present = set(database_scene_names)
        here = [split for split in SPLITS if present.intersection(official_scenes(split))]
        raise ValueError(
            f"split {name!r}: none of its {len(wanted)} scenes is among the {len(present)} of this database. "
            f"Splits with scenes here: {', '.join((*here, ALL))}. Choose one of them, a .txt file with a "
            f"scene name a line, or another version."
        )
    return found
