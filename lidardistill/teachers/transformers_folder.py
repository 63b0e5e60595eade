"""Models of the optional package transformers from a local folder; nothing is downloaded."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from lidardistill.packages import missing_package

_EXTRAS = ("classifier.", "pooler.", "head.", "mask_token", "embeddings.mask_token")
"""Beginnings of names that a checkpoint may hold beside the encoder, behind the name of the model."""


def import_transformers(kind: str) -> ModuleType:
    """The package; raises ImportError with the command that installs it."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise missing_package("transformers", kind, error) from error


def load_folder(
    kind: str,
    folder: str | Path,
    classes: Mapping[str, str],
    *,
    drawn: tuple[str, ...] = (),
    unused: tuple[str, ...] = (),
    **options: Any,
) -> Any:
    """A model from a folder as `save_pretrained` writes it, with every weight of the file in its place.

    Args:
        kind: name of the network in messages.
        folder: holds config.json and model.safetensors.
        classes: transformers' class by `model_type` of config.json.
        drawn: beginnings of names that the file may lack; they are drawn at random.
        unused: beginnings of further names that the file may hold and the model lack.
        options: of `from_pretrained`.

    Raises:
        FileNotFoundError: the folder or one of the files is missing.
        ImportError: transformers is not installed.
        ValueError: another kind of model, missing weights, or weights that the model has no place for.
    """
    folder = Path(folder)
    config = folder / "config.json"
    if not config.is_file() or not any(folder.glob("*.safetensors")):
        raise FileNotFoundError(
            f"{kind}: expected a folder with config.json and model.safetensors at {folder}; get it once with "
            "`hf download` on a machine with network and name the local folder as weights"
        )
    try:
        found = json.loads(config.read_text()).get("model_type")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{config} is no JSON object: {error}") from error
    if found not in classes:
        raise ValueError(f"{config}: model_type is {found!r}, {kind} expects one of {', '.join(classes)}")
    loader = getattr(import_transformers(kind), classes[found])
    try:
        model, info = loader.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True, **options
        )
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{folder} cannot be loaded as {kind}: {error}") from error
    missing = (
        [key for key in info["missing_keys"] if not key.startswith(drawn)]
        if drawn
        else list(info["missing_keys"])
    )
    missing += [str(key) for key in info["mismatched_keys"]]
    if missing:
        # transformers would draw these at random and only warn.
        raise ValueError(f"{folder}: {len(missing)} weights are missing or misshapen, such as {missing[0]}")
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    extra = [
        key for key in info["unexpected_keys"] if not key.removeprefix(prefix).startswith((*_EXTRAS, *unused))
    ]
    if extra:
        raise ValueError(
            f"{folder}: config.json describes a smaller or another network than model.safetensors: "
            f"{len(extra)} weights have no place, such as {sorted(extra)[0]}; take both files from one "
            f"download"
        )
    return model.float()
