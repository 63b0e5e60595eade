"""Options and fixtures that every test may use."""

from pathlib import Path

import numpy as np
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", choices=["cpu", "cuda"], help="where the GPU-marked tests run")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--device") == "cuda":
        return
    skip = pytest.mark.skip(reason="needs a GPU: run with --device cuda")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def nuscenes_one() -> Path:
    """The real nuScenes keyframe that stands beside the repository."""
    root = SHARED / "data" / "nuscenes-one"
    if not root.is_dir():
        pytest.skip(f"the real nuScenes keyframe is not here: {root}")
    return root


@pytest.fixture(scope="session")
def kitti_one() -> Path:
    """The real KITTI frame that stands beside the repository."""
    root = SHARED / "data" / "kitti-one"
    if not root.is_dir():
        pytest.skip(f"the real KITTI frame is not here: {root}")
    return root
