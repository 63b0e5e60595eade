"""A run folder holds one run: its resolved config tells which, and no other run may enter."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from lidardistill.atomic import atomic_write
from lidardistill.config.io import differing_keys, dump_yaml, validate
from lidardistill.tasks.detect.config import DetectConfig
from lidardistill.tasks.mapseg.config import MapSegConfig
from lidardistill.tasks.pretrain.config import FinetuneConfig, PretrainConfig, ProbeConfig

CONFIG_FILE = "config.yaml"
CHECKPOINTS = "checkpoints"
METRICS_FILE = "metrics.json"

VERBS: dict[str, type[BaseModel]] = {
    "pretrain": PretrainConfig,
    "probe": ProbeConfig,
    "finetune": FinetuneConfig,
    "detect": DetectConfig,
    "mapseg": MapSegConfig,
}

# What may change between the parts of one run, because no result depends on it.
FREE_KEYS = (
    "data.num_workers",
    "data.max_corrupt",
    "data.superpixels.cache",
    "data.images.cache",
    "data.gt_sampling.cache",
    "teacher_cache",
    "trainer.checkpoint_every",
    "trainer.keep_checkpoints",
    "trainer.log_every",
    "trainer.max_nonfinite",
)

Config = TypeVar("Config", bound=BaseModel)


def claim_run(run: Path, verb: str, config: BaseModel, **inputs: str) -> None:
    """Make a run folder, or enter one that holds the same run.

    Args:
        run: the folder.
        verb: key of `VERBS`.
        config: resolved config.
        inputs: what else the run depends on, such as `weights`.

    Raises:
        ValueError: the folder holds another run, or something that is none.
    """
    new = {"verb": verb, **inputs, **config.model_dump(mode="json")}
    path = run / CONFIG_FILE
    if path.is_file():
        old = yaml.safe_load(path.read_text()) or {}
        changed = [line for line in differing_keys(old, new) if line.partition(":")[0] not in FREE_KEYS]
        if changed and [entry.name for entry in run.iterdir()] != [CONFIG_FILE]:
            raise ValueError(
                f"{run} holds another run; it differs in {'; '.join(changed[:5])}. Name another --out, or remove it"
            )
        if not changed:
            return
        # Its first run stopped before it made anything, so the folder is free for a corrected config.
    elif run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise ValueError(
            f"{run} exists and is no run of lidardistill (it has no {CONFIG_FILE}): name another --out"
        )
    run.mkdir(parents=True, exist_ok=True)
    head = yaml.safe_dump({"verb": verb, **inputs}, sort_keys=False)
    with atomic_write(path) as stream:
        stream.write((head + dump_yaml(config)).encode())


def read_run(run: Path, model: type[Config]) -> Config:
    """The config of a run folder.

    Raises:
        FileNotFoundError: the folder holds no run.
        ValueError: it holds a run of another verb.
    """
    values = run_values(run)
    verb = values.pop("verb", None)
    for inputs in ("weights", "camera_weights"):
        values.pop(inputs, None)
    if VERBS.get(str(verb)) is not model:
        expected = next(name for name, known in VERBS.items() if known is model)
        raise ValueError(f"{run} is a {verb} run; expected a {expected} run")
    return validate(model, values, source=str(run / CONFIG_FILE))


def run_values(run: Path) -> dict[str, Any]:
    """Everything in a run's config.yaml, its verb included."""
    path = run / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{run} is no run folder: expected {path}")
    return dict(yaml.safe_load(path.read_text()))
