"""Names of recipes: a user's file wins, shipped recipes are found from any folder, typos get a hint."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidardistill.config import shipped
from lidardistill.config.io import load_config
from lidardistill.config.shipped import find_config
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.segment.config import ProbeConfig

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a `configs/`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name", ["configs/pretrain/demo.yaml", "pretrain/demo.yaml", "pretrain/demo", "demo"]
)
def test_a_recipe_is_found_from_any_folder(name: str) -> None:
    assert find_config(name, "pretrain") == CONFIGS / "pretrain" / "demo.yaml"


def test_a_file_of_the_user_wins(elsewhere: Path) -> None:
    own = elsewhere / "configs" / "pretrain" / "demo.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("name: mine\ndata: {dataroot: x}\nteacher: {kind: resnet50}\ntrainer: {epochs: 1}\n")
    assert load_config(PretrainConfig, "configs/pretrain/demo.yaml").name == "mine"


def test_a_bare_name_is_that_of_the_verb() -> None:
    assert load_config(PretrainConfig, "demo").name == "demo"
    assert load_config(ProbeConfig, "demo").name == "probe_demo"


def test_a_file_without_a_folder_is_not_replaced_by_a_recipe() -> None:
    with pytest.raises(FileNotFoundError, match=r"no config file demo\.yaml"):
        find_config("demo.yaml", "pretrain")


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(FileNotFoundError, match=r"did you mean demo_bevcontrast\? .*slidr_minkunet34"):
        find_config("demo_bevcontrst", "pretrain")


def test_nothing_is_found_outside_of_the_recipes() -> None:
    for name in ("../pyproject", str(CONFIGS / "none.yaml"), "configs/../../x.yaml"):
        with pytest.raises(FileNotFoundError, match="no config file"):
            find_config(name, "pretrain")


def test_an_installation_without_recipes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "site" / "lidardistill")
    with pytest.raises(FileNotFoundError, match="installation of lidardistill is incomplete"):
        find_config("demo", "pretrain")
