"""A run folder holds one run. Its resolved config says which one; another run is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from lidardistill.atomic import atomic_write
from lidardistill.config.io import differing_keys, dump_yaml

CONFIG_FILE = "config.yaml"
CHECKPOINTS = "checkpoints"
METRICS_FILE = "metrics.json"


# Keys that may change when a run is resumed, because no result depends on them.
FREE_KEYS = (
    "data.dataroot",
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
    """Make a run folder, or enter one that holds the same run; free keys of its config take their new values.

    Args:
        run: the folder.
        verb: key of `VERBS`.
        config: resolved config.
        inputs: what else the run depends on, such as `weights`.

    Raises:
        ValueError: the folder holds another run, or other files.
    """
    new = {"verb": verb, **inputs, **config.model_dump(mode="json")}
    path = run / CONFIG_FILE
    if path.is_file():
        old = _with_defaults(yaml.safe_load(path.read_text()) or {}, type(config), ("verb", *inputs))
        changed = [line for line in differing_keys(old, new) if line.partition(":")[0] not in FREE_KEYS]
        if changed and [entry.name for entry in run.iterdir()] != [CONFIG_FILE]:
            raise ValueError(
                f"{run} holds another run; it differs in {'; '.join(changed[:5])}. Name another --out, or "
                "remove it"
            )
        if old == new:
            return
        # Free keys differ, and later readers of the folder want their new values; or the folder's first run
        # stopped before it wrote anything, so the folder is free for a corrected config.
    elif run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise ValueError(
            f"{run} exists and is no run of lidardistill (it has no {CONFIG_FILE}): name another --out"
        )
    run.mkdir(parents=True, exist_ok=True)
    head = yaml.safe_dump({"verb": verb, **inputs}, sort_keys=False)
    with atomic_write(path) as stream:
        stream.write((head + dump_yaml(config)).encode())


def _with_defaults(values: dict[str, Any], model: type[BaseModel], head: tuple[str, ...]) -> dict[str, Any]:
    """The values of a config.yaml with the defaults of keys that its version did not have; unreadable ones as
    they are.

    Args:
        values: content of the file.
        model: of the config.
        head: keys before the config.
    """
    rest = {key: value for key, value in values.items() if key not in head}
    try:
        complete = model.model_validate(rest).model_dump(mode="json")
    except ValueError:
        return values
    return {**{key: values[key] for key in head if key in values}, **complete}


def run_values(run: Path) -> dict[str, Any]:
    """Everything in a run's config.yaml, its verb included."""
    path = run / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{run} is no run folder: expected {path}")
    return dict(yaml.safe_load(path.read_text()))


def write_metrics(path: Path | str, metrics: Mapping[str, Any]) -> None:
    """Writes metrics as JSON, complete or not at all.

    Args:
        path: file to write; its folder is created.
        metrics: what `json` can write; a missing figure is None, never NaN.

    Raises:
        ValueError: if a value is NaN or infinite, because then the file would be no JSON.
    """
    path = Path(path)
    try:
        text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
    except ValueError as error:
        raise ValueError(
            f"{path}: a metric is not finite ({error}); write None for a missing figure"
        ) from error
    with atomic_write(path) as stream:
        stream.write(text.encode())


def finished_metrics(run: Path) -> dict[str, Any] | None:
    """The metrics of a run that has finished."""
    path = run / METRICS_FILE
    return json.loads(path.read_text()) if path.is_file() else None
