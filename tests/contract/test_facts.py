"""Published values in our recipes equal facts.yaml: key, value, and the original's file and key."""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from lidardistill.config.base import Strict
from lidardistill.config.io import load_config
from lidardistill.tasks.detect.config import DetectConfig
from lidardistill.tasks.mapseg.config import MapSegConfig
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.segment.config import FinetuneConfig, ProbeConfig

HERE = Path(__file__).resolve().parent
CONFIGS = HERE.parents[1] / "configs"
ENTRIES: list[dict[str, Any]] = yaml.safe_load((HERE / "facts.yaml").read_text())
FACTS = [(entry["ours"], *fact) for entry in ENTRIES for fact in entry["facts"]]
UNKNOWN = [(entry["ours"], key) for entry in ENTRIES for key in entry.get("unknown", ())]
RUNS: tuple[type[Strict], ...] = (PretrainConfig, ProbeConfig, FinetuneConfig, DetectConfig, MapSegConfig)


@cache
def loaded(ours: str) -> BaseModel:
    """Return the loaded recipe, or the defaults of a config class."""
    if ":" in ours:
        module, _, name = ours.partition(":")
        cls = getattr(importlib.import_module(module), name)
        kind = {"kind": cls.model_fields["kind"].annotation.__args__[0]} if "kind" in cls.model_fields else {}
        return cls(**kind)
    if ours == "pretrain/ppkt_minkunet34" and not (CONFIGS / f"{ours}.yaml").is_file():
        pytest.skip("PPKT is not in this checkout yet")
    (model,) = (run for run in RUNS if run.recipes == ours.partition("/")[0])
    return load_config(model, CONFIGS / f"{ours}.yaml")


def value_of(ours: str, key: str) -> Any:
    value: Any = loaded(ours)
    for part in key.split("."):
        assert part in type(value).model_fields, f"{ours} has no key {key}"
        value = getattr(value, part)
    return value


@pytest.mark.parametrize(("ours", "key", "value", "original"), FACTS, ids=lambda part: str(part)[:40])
def test_our_value_is_the_published_one(ours: str, key: str, value: Any, original: str) -> None:
    got = value_of(ours, key)
    if isinstance(value, list):
        value = tuple(value)
    if isinstance(value, float):
        value = pytest.approx(value)
    assert got == value, f"{ours}: {key}, the original has {original}"
    assert isinstance(got, bool) == isinstance(value, bool)


@pytest.mark.parametrize(("ours", "key"), UNKNOWN)
def test_a_value_that_is_marked_unknown_is_a_key_of_ours(ours: str, key: str) -> None:
    value_of(ours, key)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["ours"])
def test_an_entry_names_its_source(entry: dict[str, Any]) -> None:
    assert set(entry) <= {"ours", "original", "source", "facts", "unknown"}
    assert entry["source"] in {"read", "run", "second-hand"}
    assert re.search(r"github\.com/[\w-]+/[\w-]+/(blob|issues)/\w+|arXiv \d", entry["original"])
    assert all(len(fact) == 3 and fact[2] for fact in entry["facts"])


def test_every_recipe_that_claims_an_original_has_facts() -> None:
    """A recipe whose comment names a repository stands in facts.yaml, itself or through its base."""
    pinned = {entry["ours"] for entry in ENTRIES}
    for path in sorted(CONFIGS.rglob("*.yaml")):
        comment = " ".join(line for line in path.read_text().splitlines() if line.startswith("#"))
        if re.search(r"github\.com/(valeoai|mit-han-lab)/|of mmdet3d|CALICO, stage \d \([a-z]", comment):
            assert str(path.relative_to(CONFIGS).with_suffix("")) in pinned, path
