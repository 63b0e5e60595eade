"""A run folder holds one run. Its resolved config identifies the run; any other run is refused."""

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
    """Create a run folder, or accept one that holds the same run; `FREE_KEYS` take their new values.

    Args:
        run: the folder.
        verb: key of `VERBS`.
        config: resolved config.
        inputs: other inputs that the run depends on, such as `weights`.

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
        # Either only free keys differ, and config.yaml gets their new values; or the first run stopped before
        # it wrote anything, and the folder accepts a corrected config.
    elif run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise ValueError(
            f"{run} exists and is no run of lidardistill (it has no {CONFIG_FILE}): name another --out"
        )
    run.mkdir(parents=True, exist_ok=True)
    head = yaml.safe_dump({"verb": verb, **inputs}, sort_keys=False)
    with atomic_write(path) as stream:
        stream.write((head + dump_yaml(config)).encode())


def _with_defaults(values: dict[str, Any], model: type[BaseModel], head: tuple[str, ...]) -> dict[str, Any]:
    """Values of a config.yaml, with defaults for keys that its version lacked; unreadable values unchanged.

    Args:
        values: content of the file.
        model: class of the config.
        head: keys before the config.
    """
    rest = {key: value for key, value in values.items() if key not in head}
    try:
        complete = model.model_validate(rest).model_dump(mode="json")
    except ValueError:
        return values
    return {**{key: values[key] for key in head if key in values}, **complete}


def run_values(run: Path) -> dict[str, Any]:
    """Content of a run's config.yaml, including its verb."""
    path = run / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{run} is no run folder: expected {path}")
    return dict(yaml.safe_load(path.read_text()))


def write_metrics(path: Path | str, metrics: Mapping[str, Any]) -> None:
    """Writes metrics as JSON, complete or not at all.

    Args:
        path: file to write; its folder is created.
        metrics: values that `json` can write; a missing figure is None, never NaN.

    Raises:
        ValueError: a value is NaN or infinite, which JSON does not allow.
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
    """Metrics of a finished run; None if the run has not finished."""
    path = run / METRICS_FILE
    return json.loads(path.read_text()) if path.is_file() else None
