"""A wheel without the repository contains the recipes and finds them by name from any folder."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT_FROM = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("setuptools") is None, reason="setuptools is not installed"),
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the wheel as in site-packages; build it from a copy, so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("lidardistill", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.nb?"))
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run(
        [*build, "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(source)], check=True
    )
    (wheel,) = folder.glob("*.whl")
    shutil.unpack_archive(wheel, folder / "site", "zip")
    return folder / "site"


def test_the_wheel_holds_every_recipe(installed: Path) -> None:
    shipped = {path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml")}
    package = installed / "lidardistill"
    packed = {path.relative_to(package) for path in (package / "configs").rglob("*.yaml")}
    assert packed == shipped


@pytest.mark.parametrize("name", ["configs/pretrain/demo.yaml", "pretrain/demo", "demo"])
def test_recipes_are_found_without_the_repository(installed: Path, name: str, tmp_path: Path) -> None:
    code = (
        "import lidardistill\n"
        "from lidardistill.config.io import load_config\n"
        "from lidardistill.tasks.pretrain.config import PretrainConfig\n"
        f"print(load_config(PretrainConfig, {name!r}).name, lidardistill.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    name, where = done.stdout.split()
    assert name == "demo"
    assert Path(where).is_relative_to(installed)


def test_the_demo_reads_the_packaged_recipes(installed: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "from lidardistill.demo.experiment import finetune_config, pretrain_config, probe_config\n"
        "arguments = Path('world'), 0\n"
        "print(pretrain_config(Path('world'), Path('cache'), 'pretrained', 0).name,"
        " probe_config(*arguments).name, finetune_config(*arguments).name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["demo", "probe_demo", "finetune_demo"]
