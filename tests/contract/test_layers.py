"""Imports point down, files stay small, and forbidden packages stay out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "lidardistill"

ALLOWED: dict[str, set[str]] = {
    "config": set(),
    "geometry": set(),
    "regions": {"geometry"},
    "ops": set(),
    "data": {"geometry", "regions"},
    "synthetic": {"geometry", "data"},
    "models": {"ops"},
    "objectives": {"ops"},
    "methods": {"models", "objectives", "ops", "data.types", "data.region_batch", "data.region_image_batch", "data.joint_batch"},
    "evaluation": {"models", "objectives", "ops", "data", "geometry"},
    "engine": {
        "config", "geometry", "regions", "ops", "data", "synthetic", "models", "objectives", "methods", "evaluation",
    },
    "report": {"data", "geometry", "regions", "evaluation"},
    "plugins": {"data", "models"},
}  # fmt: skip
"""Layer: the layers (or modules of them) that it may import. `cli` may import anything, lazily."""

NO_TORCH = {"config", "geometry", "regions", "synthetic"}
FORBIDDEN_NAMES = {"utils", "common", "misc", "helpers"}
MAX_LINES = 400


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Yield each imported module, its line, and whether the import stands at the top of the module."""
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            base = node.module or ""
            for alias in node.names:
                yield f"{base}.{alias.name}", node.lineno, id(node) in top


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    layer = path.relative_to(PACKAGE).parts[0]
    for name, line, at_top in imports(path):
        where = f"{path.relative_to(PACKAGE.parent)}:{line} imports {name}"
        root = name.split(".")[0]
        assert root not in {"torchvision", "timm"}, where
        if root == "spconv":
            assert path.name == "sparse.py", where
        if root in {"mmcv", "mmdet", "mmdet3d", "mmengine"}:
            assert layer == "plugins", where
        if root == "torch":
            assert layer not in NO_TORCH, where
            assert not (layer == "cli" and at_top), f"{where} at import time: --help must stay fast"
        if root == "numba":
            assert not (layer == "cli" and at_top), f"{where} at import time: --help must stay fast"
        if root != "lidardistill" or layer not in ALLOWED:
            continue
        target = name.removeprefix("lidardistill").lstrip(".")
        if not target or target.split(".")[0] in {"__version__", "atomic", "one_thread", layer}:
            continue
        assert any(target == a or target.startswith(f"{a}.") for a in ALLOWED[layer]), where


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_fits_in_the_head(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES
    assert path.stem not in FORBIDDEN_NAMES


def test_config_objects_stay_in_build_and_cli() -> None:
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in modules()
        for name, _, _ in imports(path)
        if name.startswith("lidardistill.config")
        and path.relative_to(PACKAGE).parts[0] not in {"config", "cli"}
    }
    assert users <= {
        "engine/build.py",
        "engine/build_bev.py",
        "engine/build_rad.py",
        "engine/build_student.py",
        "engine/experiment.py",
        "engine/pretrain.py",
        "engine/dry_run.py",
        "engine/parallel_arms.py",
        "engine/downstream.py",
        "engine/mapseg.py",
        "engine/robust_detection.py",
        "engine/run_folder.py",
        "engine/scan_batches.py",
        "engine/supervised.py",
        "engine/teacher_features.py",
        "engine/superpixels.py",
        "engine/showcase.py",
        "engine/export.py",
        "engine/bev_showcase.py",
        "engine/detect.py",
        "engine/detection_batches.py",
        "engine/detector.py",
        "engine/detector_training.py",
    }, users


def test_pretraining_never_imports_the_label_reader() -> None:
    for path in modules():
        relative = path.relative_to(PACKAGE)
        if relative.parts[0] in {"methods", "models", "objectives", "ops", "regions", "geometry"} or relative.name in {
            "pairs.py", "scan_pairs.py", "region_views.py", "region_batch.py", "region_images.py", "region_image_batch.py", "region_sampling.py", "joint_batch.py", "nuscenes.py", "collate.py",
            "loader.py", "build.py", "build_bev.py", "build_rad.py", "pretrain.py",
        }:  # fmt: skip
            for name, line, _ in imports(path):
                assert "nuscenes_labels" not in name, f"{relative}:{line}"
                assert "nuscenes_box" not in name, f"{relative}:{line}"
