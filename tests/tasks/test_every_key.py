"""Every key of every verb's config does something: another value changes what is built, or a message names
the key.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from lidardistill.engine.distributed import make_fabric
from lidardistill.tasks.detect.run import Detect, calibrate_detector
from lidardistill.tasks.detect.run import predictions as detections
from lidardistill.tasks.mapseg.run import MapSeg
from lidardistill.tasks.pretrain.run import Pretrain
from lidardistill.tasks.segment.probe import ProbeFeatures, fit_linear
from lidardistill.tasks.segment.run import CachedProbe, Finetune, calibrate
from lidardistill.tasks.verb import Task, Work, build_training
from tests.support.tiny_configs import (
    tiny_bevcontrast,
    tiny_calico,
    tiny_calico_rad,
    tiny_ppkt,
    tiny_pretrain,
    tiny_task,
)

pytest.importorskip("nuscenes", reason="the tasks want nuscenes-devkit before they train")

VERBS = ("slidr", "ppkt", "bevcontrast", "prc", "rad", "probe", "online", "finetune", "detect", "mapseg")

OF_EVERY_VERB = re.compile(
    r"trainer\..*|accelerator|name|data\.(dataroot|max_corrupt|missing|num_workers)|.*\.cache|teacher_cache"
    r"|data\.superpixels\.preset|method\.negatives|.*\.ground\.iterations|method\.warp|method\.pairs"
)
"""Keys whose effect other tests ask for.

Those of the loop and the verb (test_verb.py, test_loop.py), missing scenes (test_nuscenes.py), caches, two
ranks, and a few that need more than 600 points or two keyframes a scene (tests/regions/test_ground.py,
tests/methods/test_bevcontrast.py).
"""

IDLE = {"rad": re.compile(r"data\.augment\.(cuboid|crop)_(?!images).*")}
"""Settings of steps that are off in a verb's config."""

OTHERS: dict[str, list[Any]] = {
    "data.version": ["v1.0-trainval"],
    "data.split": ["mini_val"],
    "data.train_split": ["mini_val"],
    "data.val_split": ["mini_vall"],
    "data.eval_split": ["mini_vall"],
    "data.keyframes": [2, 1],
    "data.augment.cuboid_min_pairs": [10**6],
    "data.augment.crop_min_pairs": [1],
    "data.train_keyframes": [1],
    "data.label_percent": [50, 25, 10, 5, 1],
    "data.image_size": [[32, 64]],
    "data.superpixels.masks": ["nowhere"],
    "data.gt_sampling": [{}],
    "data.augment.scale": [[0.5, 0.6]],
    "voxels.point_cloud_range": [
        [-12.8, -12.8, -6.4, 12.8, 12.8, 6.4],
        [-20.0, -20.0, -4.0, 20.0, 20.0, 4.0],
        [-38.4, -38.4, -6.4, 38.4, 38.4, 6.4],
    ],
    "voxels.point_features": [["x", "y", "z", "range"], ["x", "y", "z", "intensity"], ["x"]],
    "voxels.voxel_size": [[0.2, 0.2, 0.2], [0.4, 0.4, 0.2]],
    "method.max_cells": [8],
    "method.pairs": [8],
    "method.num_rich": [8],
    "method.regions.ground.seed_quantile": [0.9],
    "method.regions.ground.iterations": [1],
    "method.regions.ground.max_slope": [1e-6],
    "method.num_plain": [8],
    "method.camera.bev_range": [[-25.6, -25.6, 25.6, 25.6]],
    "method.camera.cell_size": [0.4, 3.2],
    "method.camera.depth_range": [[1.0, 30.0]],
    "method.camera.depth_step": [0.25, 1.0],
    "method.camera.z_range": [[-4.0, 2.0]],
    "method.camera.context_channels": [8],
    "maps.classes": [["drivable_area", "walkway"]],
    "maps.bev_range": [[-12.0, -12.0, 12.0, 12.0]],
    "lr_head": [0.5],
    "camera": [{"preset": "of nobody"}],
    "bev_term": [{"stride": 1}],
    "teacher": [{"kind": "color_histogram"}],
    "method.lidar_weights": ["nowhere"],
    "method.camera.weights": ["nowhere"],
    "teacher.weights": ["nowhere"],
}
"""Other values of keys whose type does not tell one."""


ALL_ON = {
    "slidr": (
        "data.augment.drop_cuboid=true",
        "data.augment.cuboid_min_pairs=1",
        "data.augment.crop_images=true",
        "data.augment.crop_min_pairs=1000",
        "data.augment.flip_images=true",
        "data.images.scale=2",
        "voxels.voxel_size=[2.0, 2.0, 2.0]",
    ),
    "ppkt": (
        "data.augment.drop_cuboid=true",
        "data.augment.cuboid_min_pairs=1",
        "data.augment.crop_images=true",
        "data.augment.crop_min_pairs=1000",
        "data.augment.flip_images=true",
        "data.images.scale=2",
        "voxels.voxel_size=[2.0, 2.0, 2.0]",
    ),
    "rad": ("data.images.scale=2",),
    "probe": ("voxels.voxel_size=[2.0, 2.0, 2.0]",),
    "online": ("voxels.voxel_size=[2.0, 2.0, 2.0]",),
    "finetune": ("voxels.voxel_size=[2.0, 2.0, 2.0]",),
    "bevcontrast": ("voxels.voxel_size=[2.0, 2.0, 2.0]",),
}
"""What must be on, or coarse enough for the tiny world, for other keys to have an effect."""


def task_of(verb: str, root: Path, *overrides: str) -> Task:
    overrides = (*ALL_ON.get(verb, ()), *overrides)
    pretrain = {
        "slidr": tiny_pretrain,
        "ppkt": tiny_ppkt,
        "bevcontrast": tiny_bevcontrast,
        "prc": tiny_calico,
    }
    if verb == "rad":
        return Pretrain(tiny_calico_rad(root, "random", *overrides))
    if verb in pretrain:
        more = (None,) if verb == "slidr" else ()
        return Pretrain(pretrain[verb](root, *more, *overrides))
    return tiny_task(verb, root, *overrides)


def leaves(config: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted key, annotation and value of every leaf."""
    for name, field in type(config).model_fields.items():
        value, key = getattr(config, name), f"{prefix}{name}"
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{key}.")
        else:
            yield key, field.annotation, value


def others(key: str, annotation: Any, value: Any) -> list[Any]:
    """Values to try instead."""
    if key in OTHERS:
        return [other for other in OTHERS[key] if other != value]
    choices = list(get_args(annotation)) if get_origin(annotation) is Literal else []
    if choices:
        return [choice for choice in choices if choice != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value * 2, max(value // 2, 0), value + 16]
    if isinstance(value, float):
        return [value * 0.5, value * 2, value + 0.25, 0.5]
    if isinstance(value, tuple) and value and all(isinstance(part, (int, float)) for part in value):
        return [[part * factor for part in value] for factor in (2, 0.5)] + [[part + 1 for part in value]]
    return []


def digest(value: Any) -> str:
    """Of tensors, arrays, and mappings, sequences and dataclasses of them."""
    state = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, Tensor):
            part = part.detach().cpu().numpy()
        if isinstance(part, np.ndarray):
            state.update(f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        elif isinstance(part, dict):
            for key, child in part.items():
                state.update(str(key).encode())
                add(child)
        elif isinstance(part, (list, tuple)):
            for child in part:
                add(child)
        elif is_dataclass(part) and not isinstance(part, type):
            add({f.name: getattr(part, f.name) for f in fields(part)})
        else:
            state.update(repr(part).encode())

    add(value)
    return state.hexdigest()


def built(task: Task, work: Work) -> dict[str, Any]:
    """What can be seen without a step: weights, samples, learning rates."""
    found = {"model": digest(work.model.state_dict()), "modules": digest(repr(work.model))}
    if work.learning is None:
        return {**found, "rows": digest(getattr(work, "rows", None))}
    training = build_training(task, work.model, work.learning, FABRIC)
    data = work.learning.dataset
    batch = data.collate([data[(0, place, place % len(data))] for place in range(2)])
    found["batch"] = digest(batch)
    found["rows"] = digest(data.rows)
    found["length"] = digest([training.total_steps, task.config.data.batch_size])
    groups = [{k: v for k, v in group.items() if k != "params"} for group in training.optimizer.param_groups]
    sizes = [[p.numel() for p in group["params"]] for group in training.optimizer.param_groups]
    rates = [training.schedule.share(step) for step in range(training.total_steps)]
    found["optimizer"] = digest([groups, sizes, rates, training.optimizer.defaults])
    return found


def stepped(work: Work) -> str:
    """Losses and gradients of one step."""
    if work.learning is None:
        return ""
    data = work.learning.dataset
    batch = data.collate([data[(0, place, place % len(data))] for place in range(2)])
    terms = work.learning.terms(batch, 0, True)
    terms.loss.backward()
    grads = [p.grad for p in work.model.parameters() if p.grad is not None]
    return digest([terms.loss, terms.losses, grads, list(work.model.buffers())])


def judged(task: Task, work: Work) -> str:
    """What happens after the last step, as far as it needs no evaluator."""
    config, cpu = task.config, torch.device("cpu")
    if isinstance(task, Detect):
        calibrate_detector(work.model, config, work.index, cpu)
        found = next(detections(work.model, config, work.index, config.data.eval_split, cpu))
        return digest([list(work.model.buffers()), found])
    if isinstance(task, MapSeg):
        return digest([config.calibration_keyframes])
    if isinstance(task, CachedProbe):
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(64, 4, generator=generator)
        train = ProbeFeatures(features, torch.arange(64) % 3)
        head = fit_linear(
            train,
            3,
            config.probe.model_copy(update={"batch_points": config.probe.batch_points // 512}),
            generator=generator,
        )
        keyframes = config.probe.calibration_keyframes
        voxels = config.student.scan_input(config.voxels)
        calibrate(work.model.backbone, config.data, voxels, work.index, keyframes, cpu)
        scan = task.still(work, cpu) if hasattr(task, "still") else None
        return digest([head.weight, list(work.model.buffers()), scan])
    if isinstance(task, Finetune):
        voxels = config.student.scan_input(config.voxels)
        calibrate(work.model.backbone, config.data, voxels, work.index, config.calibration_keyframes, cpu)
        return digest(list(work.model.buffers()))
    return ""


FABRIC = make_fabric("cpu")


def told(error: Exception, key: str) -> bool:
    """Whether a message names the key, a group of keys that it belongs to, or the value that cannot be
    found.
    """
    parts = key.split(".")
    names = [parts[-1], *(".".join(parts[:n]) for n in range(2, len(parts)))]
    return any(name in str(error) for name in [*names, "nowhere", "v1.0-trainval"])


def effect(verb: str, root: Path, key: str, other: Any, plain: dict[str, Any]) -> str | None:
    """What another value does: the part that differs or "refused"; None for nothing, "invalid" for no
    valid value.
    """
    try:
        task = task_of(verb, root, f"{key}={json.dumps(other)}")
    except (ValueError, ValidationError) as error:
        return "invalid" if told(error, key) else f"refused without a word of {key}: {error}"
    try:
        work = task.build(FABRIC)
        found = built(task, work)
    except (ValueError, OSError) as error:
        return "refused" if told(error, key) else f"refused without a word of {key}: {error}"
    for part, value in found.items():
        if value != plain["built"][part]:
            return part
    if "stepped" not in plain:
        plain["stepped"] = stepped(plain["work"])
    if stepped(work) != plain["stepped"]:
        return "step"
    if "judged" not in plain:
        plain["judged"] = judged(plain["task"], plain["work"])
    return "judged" if judged(task, work) != plain["judged"] else None


@pytest.mark.parametrize("verb", VERBS)
def test_every_key_does_something_or_is_refused(verb, request):
    world = request.getfixturevalue("detection_world" if verb == "detect" else "tiny_world")
    task = task_of(verb, world)
    work = task.build(FABRIC)
    plain = {"task": task, "work": work, "built": built(task, work)}
    without, untried = [], []
    for key, annotation, value in leaves(task.config):
        idle = verb in IDLE and IDLE[verb].fullmatch(key)
        if idle or OF_EVERY_VERB.fullmatch(key) or key.endswith("kind"):
            continue
        outcomes = []
        for other in others(key, annotation, value):
            outcomes.append(effect(verb, world, key, other, plain))
            if outcomes[-1] not in (None, "invalid"):
                break
        last = outcomes[-1] if outcomes else "untried"
        if last == "untried":
            untried.append(f"{key}={value!r}")
        elif last is None or last.startswith("refused without"):
            without.append(f"{key}={value!r}: {last}")
    assert (without, untried) == ([], [])
