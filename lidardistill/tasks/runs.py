"""Configs of run folders by verb, and the saved model of a downstream run."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel
from safetensors.torch import load_file, save
from torch import nn

from lidardistill.atomic import atomic_write
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

MODEL_FILE = "model.safetensors"

Model = TypeVar("Model", bound=nn.Module)


def verb_of(run: Path) -> str:
    """Verb of a run folder; raises FileNotFoundError if the folder holds no run."""
    return str(run_values(run).get("verb"))


def read_run(run: Path, model: type[Config]) -> Config:
    """The config of a run folder.

    Raises:
        FileNotFoundError: the folder holds no run.
        ValueError: the folder holds a run of another verb.
    """
    values = run_values(run)
    verb = values.pop("verb", None)
    for inputs in ("weights", "camera_weights"):
        values.pop(inputs, None)
    if VERBS.get(str(verb)) is not model:
        expected = next(name for name, known in VERBS.items() if known is model)
        raise ValueError(f"{run} is a {verb} run; expected a {expected} run")
    return validate(model, values, source=str(run / CONFIG_FILE))


def save_model(model: nn.Module, run: Path) -> None:
    """Write `model.safetensors` into a run folder, complete or not at all."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_write(run / MODEL_FILE) as stream:
        stream.write(save(state))


def load_model(model: Model, run: Path) -> Model:
    """Load the saved weights of a run into a newly built model, in eval mode.

    Raises:
        FileNotFoundError: the run has not finished, or saves no model.
    """
    path = run / MODEL_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{run} holds no {MODEL_FILE}: expected a finished run of probe, finetune, detect or mapseg; "
            "repeat the command of an unfinished one to continue it"
        )
    model.load_state_dict(load_file(path))
    return model.eval()


def check_out(run: Path, out: Path) -> None:
    """Refuse, with a ValueError, to write an evaluation into the folder of another run."""
    if out.resolve() != run.resolve() and (out / CONFIG_FILE).is_file():
        raise ValueError(f"{out} holds another run: name another --out")


UNLABELLED_SPLIT = "test"
"""Split whose labels nuScenes keeps back: predictions for it are written and not scored."""


def on_other_data(config: Config, dataroot: Path | None, version: str | None) -> Config:
    """The config of a run with its data elsewhere, or in other tables; None keeps what the run has."""
    given = {"dataroot": None if dataroot is None else str(dataroot), "version": version}
    update = {key: value for key, value in given.items() if value is not None}
    values = config.model_dump(mode="json")
    values["data"] = {**values["data"], **update}
    return type(config).model_validate(values) if update else config
