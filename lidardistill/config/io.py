"""Read config files: YAML with an optional `extends`, command-line overrides, errors that name the key."""

from __future__ import annotations

import difflib
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from lidardistill.config.base import Strict
from lidardistill.config.shipped import find_config, shipped_folder

Config = TypeVar("Config", bound=BaseModel)
RunConfig = TypeVar("RunConfig", bound=Strict)


def load_config(model: type[RunConfig], path: Path | str, overrides: Sequence[str] = ()) -> RunConfig:
    """Read, merge and validate a config file.

    Args:
        model: the pydantic class that the file describes.
        path: YAML file, or the name of a recipe that ships with lidardistill (see `find_config`). Its
            optional key `extends` names one base file, relative to the file.
        overrides: strings `a.b=value`; the value is read as YAML.

    Raises:
        FileNotFoundError: the file, or the file that it extends, does not exist.
        ValueError: the YAML is broken, a key is unknown (the nearest is named), or a value is wrong.
    """
    values = read_yaml(find_config(path, model.recipes))
    for override in overrides:
        _apply_override(values, override)
    return validate(model, values, source=str(path))


def read_shipped(name: str) -> dict[str, Any]:
    """Return the values of a recipe that ships with lidardistill, such as `pretrain/demo`."""
    return read_yaml(shipped_folder() / f"{name}.yaml")


def read_yaml(path: Path, _seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return the mapping in a YAML file, merged over the mapping of the file that it extends."""
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        hint = f"; in {path.parent}: {', '.join(near)}" if near else ""
        raise FileNotFoundError(f"no config file {path}{hint}")
    if path.resolve() in _seen:
        raise ValueError(f"{path}: `extends` runs in a circle")
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected `key: value` lines, got a {type(values).__name__}")
    base = values.pop("extends", None)
    if base is None:
        return values
    return _merge(read_yaml(path.parent / base, (*_seen, path.resolve())), values)


def validate(model: type[Config], values: dict[str, Any], source: str) -> Config:
    """Validate a mapping. Errors name the key as the user wrote it.

    Args:
        model: the config class.
        values: the mapping, as read from YAML.
        source: name of the file, for the error.

    Raises:
        ValueError: one line that lists every wrong key.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(model, detail) for detail in error.errors()]
        raise ValueError(f"{source}: " + "; ".join(dict.fromkeys(lines))) from None


def dump_yaml(config: BaseModel) -> str:
    """Return the resolved config as YAML. `load_config` reads it back to an equal object."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def differing_keys(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the keys whose values differ between two resolved configs, as `key: old -> new`."""
    found: list[str] = []
    for key in [*old, *(k for k in new if k not in old)]:
        name = f"{prefix}{key}"
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differing_keys(a, b, f"{name}.")
        elif a != b:
            found.append(f"{name}: {a} -> {b}")
    return found


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge `over` into `base` key by key. A mapping with another `kind` replaces the mapping of the base."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        same_kind = (
            isinstance(value, dict)
            and isinstance(old, dict)
            and value.get("kind", old.get("kind")) == old.get("kind")
        )
        merged[key] = _merge(old, value) if same_kind and isinstance(old, dict) else value
    return merged


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ValueError(f"override {override!r}: expected a.b=value, such as optimizer.lr=0.1")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"override {override!r}: the value is no valid YAML: {error}") from None
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.get(parent)
        values[parent] = dict(inner) if isinstance(inner, dict) else {}
        values = values[parent]
    values[last] = value


def _explain(model: type[BaseModel], detail: Any) -> str:
    """Return one line for one pydantic error."""
    holder, names = _walk(model, detail["loc"])
    key = ".".join(names)
    if detail["type"] == "extra_forbidden":
        known = list(holder.model_fields) if holder else []
        near = difflib.get_close_matches(names[-1], known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key {key!r}; {hint}"
    if detail["type"] == "missing":
        return f"key {key!r} is missing"
    message = detail["msg"].removeprefix("Value error, ")
    if message.startswith("."):  # a validator of the whole mapping names the key itself
        return f"{key}{message}".removeprefix(".")
    got = (
        f", got {detail['input']!r}"
        if not isinstance(detail["input"], dict) and "got " not in message
        else ""
    )
    return f"{key}: {message}{got}" if key else message


def _walk(model: type[BaseModel], loc: Sequence[int | str]) -> tuple[type[BaseModel] | None, list[str]]:
    """Follow the location of an error through the models; names of union tags are left out."""
    holder: type[BaseModel] | None = model
    choices: list[type[BaseModel]] = [model]
    names: list[str] = []
    for part in loc:
        tagged = [
            c
            for c in choices
            if "kind" in c.model_fields and part in get_args(c.model_fields["kind"].annotation)
        ]
        if tagged and part not in choices[0].model_fields:
            holder, choices = tagged[0], tagged
            continue
        holder = choices[0] if choices else None
        names.append(str(part))
        field = holder.model_fields.get(str(part)) if holder else None
        choices = _models_in(field.annotation) if field is not None else []
    return holder, names


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the config classes inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, Annotated, list, tuple):
        return [m for a in get_args(annotation) for m in _models_in(a)]
    return []
