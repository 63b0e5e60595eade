"""Install commands in messages match pyproject.toml; none installs lidardistill, which is on no index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lidardistill.packages import INSTALL, missing_package

ROOT = Path(__file__).resolve().parents[2]
DECLARED = (ROOT / "pyproject.toml").read_text()


def test_the_versions_are_those_of_pyproject() -> None:
    for package, command in INSTALL.items():
        versions = re.findall(rf"pip install '?{package}([=>]=[\d.]+)", command)
        for version in versions:
            assert f'"{package}{version}' in DECLARED, command
    assert sum("==" in command for command in INSTALL.values()) >= 2
    for cuda in re.findall(r"cu\d{3}", INSTALL["spconv"]):
        assert f"spconv-{cuda}" in DECLARED


@pytest.mark.parametrize("folder", ["lidardistill", "docs", "datasets", "configs", "docker", "tools"])
def test_nothing_says_to_install_lidardistill_from_an_index(folder: str) -> None:
    for path in (ROOT / folder).rglob("*"):
        if path.suffix in {".py", ".md", ".yaml", ".sh"}:
            assert not re.search(r"pip install ['\"]?lidardistill", path.read_text()), path


def test_a_missing_package_is_one_sentence_with_the_command() -> None:
    cause = ImportError("No module named 'nuscenes'")
    error = missing_package("nuscenes-devkit", "the official evaluator", cause)
    assert str(error) == (
        "the official evaluator needs nuscenes-devkit, which cannot be imported (No module named "
        "'nuscenes'): pip install nuscenes-devkit==1.2.0 (Python 3.10 to 3.12; on 3.13 `make setup`)"
    )


def test_every_extra_has_code() -> None:
    section = DECLARED.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = re.findall(r"^(\w+) = \[", section, re.M)
    assert set(extras) == {
        "cpu",
        "cu120",
        "cu121",
        "cu124",
        "cu126",
        "nuscenes",
        "teachers",
        "mmdet3d",
        "open3d",
        "dev",
    }
