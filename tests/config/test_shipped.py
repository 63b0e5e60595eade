"""Every shipped config is valid and repeats no key of its base."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lidardistill.config.base import Strict
from lidardistill.config.io import load_config, read_yaml
from lidardistill.tasks.detect.config import DetectConfig
from lidardistill.tasks.mapseg.config import MapSegConfig
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.segment.config import FinetuneConfig, ProbeConfig

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
MODELS: dict[str, type[Strict]] = {
    "pretrain": PretrainConfig,
    "debug": PretrainConfig,
    "probe": ProbeConfig,
    "finetune": FinetuneConfig,
    "mapseg": MapSegConfig,
    "detect": DetectConfig,
}
FILES = sorted(CONFIGS.rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_it_loads(path: Path) -> None:
    load_config(MODELS[path.parent.name], path)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_a_variant_holds_only_what_differs(path: Path) -> None:
    own = yaml.safe_load(path.read_text())
    base = own.pop("extends", None)
    if base is None:
        return
    inherited = read_yaml(path.parent / base)
    for key, value in own.items():
        assert inherited.get(key) != value, f"{path}: {key} repeats {base}"


def test_names_are_unique() -> None:
    names = [read_yaml(path)["name"] for path in FILES]
    assert len(set(names)) == len(names)
