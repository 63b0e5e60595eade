"""The demo's recipes cut down to seconds, on the tiny world."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lidardistill.config.io import load_config
from lidardistill.tasks.detect.config import DetectConfig
from lidardistill.tasks.mapseg.config import MapSegConfig
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.segment.config import FinetuneConfig, ProbeConfig
from lidardistill.tasks.verb import Task

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def tiny_pretrain(root: Path, cache: Path | None = None, *overrides: str) -> PretrainConfig:
    """Four steps of the demo with a teacher without weights; `cache` keeps its features."""
    return load_config(
        PretrainConfig,
        CONFIGS / "pretrain" / "demo.yaml",
        (
            f"data.dataroot={root}",
            "data.superpixels={num_superpixels: 12, sigma: 1.0}",
            "data.augment.image_size=[45, 80]",
            "teacher={kind: color_histogram}",
            "schedule.warmup_steps=1",
            f"teacher_cache={'null' if cache is None else cache}",
            "trainer={max_steps: 4, accelerator: cpu, checkpoint_every: 2, log_every: 1}",
            *overrides,
        ),
    )


def tiny_ppkt(root: Path, *overrides: str) -> PretrainConfig:
    """Four steps of PPKT with a teacher that needs no weights."""
    return load_config(
        PretrainConfig,
        CONFIGS / "pretrain" / "demo_ppkt.yaml",
        (
            f"data.dataroot={root}",
            "data.augment.image_size=[45, 80]",
            "teacher={kind: color_histogram}",
            "schedule.warmup_steps=1",
            "trainer={max_steps: 4, accelerator: cpu, checkpoint_every: 2, log_every: 1}",
            *overrides,
        ),
    )


def tiny_bevcontrast(root: Path, *overrides: str) -> PretrainConfig:
    """Four steps of the demo-sized BEVContrast."""
    return load_config(
        PretrainConfig,
        CONFIGS / "pretrain" / "demo_bevcontrast.yaml",
        (
            f"data.dataroot={root}",
            "method.stride=1",
            "method.cell_size=1.0",
            "schedule.warmup_steps=1",
            "trainer={max_steps: 4, accelerator: cpu, checkpoint_every: 2, log_every: 1}",
            *overrides,
        ),
    )


def tiny_calico(root: Path, *overrides: str) -> PretrainConfig:
    """Four steps of CALICO's first stage; points of the tiny world are far apart."""
    return load_config(
        PretrainConfig,
        CONFIGS / "pretrain" / "demo_calico_prc.yaml",
        (
            f"data.dataroot={root}",
            "method.regions.eps_m=3.0",
            "method.regions.min_points=2",
            "schedule.warmup_steps=1",
            "trainer={max_steps: 4, accelerator: cpu, checkpoint_every: 2, log_every: 1}",
            *overrides,
        ),
    )


def tiny_calico_rad(root: Path, lidar: Path | str, *overrides: str) -> PretrainConfig:
    """Four steps of CALICO's second stage with a random camera network."""
    return load_config(
        PretrainConfig,
        CONFIGS / "pretrain" / "demo_calico_rad.yaml",
        (
            f"data.dataroot={root}",
            "data.augment.image_size=[45, 80]",
            f"method.lidar_weights={lidar}",
            "method.camera.weights=random",
            "method.regions.eps_m=3.0",
            "method.regions.min_points=2",
            "schedule.warmup_steps=1",
            "trainer={max_steps: 4, accelerator: cpu, checkpoint_every: 2, log_every: 1}",
            *overrides,
        ),
    )


def tiny_probe(root: Path, *overrides: str) -> ProbeConfig:
    changes = (f"data.dataroot={root}", "probe.epochs=2", "probe.calibration_keyframes=2")
    return load_config(ProbeConfig, CONFIGS / "probe" / "demo.yaml", (*changes, *overrides))


def tiny_finetune(root: Path, *overrides: str) -> FinetuneConfig:
    changes = (
        f"data.dataroot={root}",
        "calibration_keyframes=0",
        "schedule.warmup_steps=1",
        "trainer={max_steps: 3, accelerator: cpu, checkpoint_every: 1, log_every: 1}",
    )
    return load_config(FinetuneConfig, CONFIGS / "finetune" / "demo.yaml", (*changes, *overrides))


def tiny_detect(root: Path, *overrides: str, name: str = "demo") -> DetectConfig:
    """Three steps of the demo's detector on small maps."""
    voxels = (
        "voxels.voxel_size=[0.4, 0.4, 0.4]",
        "voxels.point_cloud_range=[-25.6, -25.6, -6.4, 25.6, 25.6, 6.4]",
    )
    changes = (
        f"data.dataroot={root}",
        "data.label_percent=100",
        "data.batch_size=2",
        "head.width=8",
        "calibration_keyframes=2",
        "trainer={max_steps: 3, accelerator: cpu, checkpoint_every: 1, log_every: 1}",
        *voxels,
        *(("data.image_size=[32, 64]", "camera.weights=random") if name == "demo_fusion" else ()),
    )
    return load_config(DetectConfig, CONFIGS / "detect" / f"{name}.yaml", (*changes, *overrides))


def tiny_mapseg(root: Path, *overrides: str) -> MapSegConfig:
    """Three steps of the demo's map segmentation on small maps."""
    changes = (
        f"data.dataroot={root}",
        "data.batch_size=2",
        "data.num_workers=0",
        "voxels.voxel_size=[0.4, 0.4, 0.4]",
        "voxels.point_cloud_range=[-25.6, -25.6, -6.4, 25.6, 25.6, 6.4]",
        "maps={bev_range: [-24.0, -24.0, 24.0, 24.0], cell_size: 1.0}",
        "calibration_keyframes=2",
        "trainer={max_steps: 3, accelerator: cpu, checkpoint_every: 1, log_every: 1}",
    )
    return load_config(MapSegConfig, CONFIGS / "mapseg" / "demo.yaml", (*changes, *overrides))


def tiny_task(verb: str, root: Path, *overrides: str, weights: str = "random") -> Task:
    """The task of a verb that starts from random weights; `online` is the online probe."""
    from lidardistill.tasks.detect.run import Detect
    from lidardistill.tasks.mapseg.run import MapSeg
    from lidardistill.tasks.segment.run import CachedProbe, Finetune, OnlineProbe

    if verb == "probe":
        return CachedProbe(tiny_probe(root, *overrides), weights)
    if verb == "online":
        return OnlineProbe(tiny_probe(root, "probe={kind: online, epochs: 1}", *overrides), weights)
    if verb == "finetune":
        return Finetune(tiny_finetune(root, *overrides), weights)
    if verb == "detect":
        return Detect(tiny_detect(root, *overrides), weights)
    return MapSeg(tiny_mapseg(root, *overrides), weights)


@pytest.fixture(scope="session")
def configs() -> dict[str, Callable]:
    return {
        "pretrain": tiny_pretrain,
        "bevcontrast": tiny_bevcontrast,
        "calico": tiny_calico,
        "calico_rad": tiny_calico_rad,
        "probe": tiny_probe,
        "finetune": tiny_finetune,
        "detect": tiny_detect,
        "mapseg": tiny_mapseg,
        "task": tiny_task,
    }


@pytest.fixture(scope="session")
def pretrained(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished pretraining run on the tiny world. Tests must not write to it."""
    from lidardistill.tasks.pretrain.run import pretrain

    run = tmp_path_factory.mktemp("pretrained") / "run"
    assert pretrain(tiny_pretrain(tiny_world), run, progress=False).exit_code == 0
    return run
