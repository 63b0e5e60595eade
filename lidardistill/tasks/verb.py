"""Verb of tasks."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from lidardistill.config.io import validate
from lidardistill.engine.run_folder import CONFIG_FILE, Config, run_values
from lidardistill.tasks.detect.config import DetectConfig
from lidardistill.tasks.mapseg.config import MapSegConfig
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.segment.config import FinetuneConfig, ProbeConfig

VERBS: dict[str, type[BaseModel]] = {
    "pretrain": PretrainConfig,
    "probe": ProbeConfig,
    "finetune": FinetuneConfig,
    "detect": DetectConfig,
    "mapseg": MapSegConfig,
}


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
