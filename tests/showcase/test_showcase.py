"""A finished arm gives the arrays that a report draws, and the report draws them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lidardistill.config.io import validate
from lidardistill.datasets.nuscenes.lidarseg_classes import CLASSES
from lidardistill.report.scene import Scene
from lidardistill.showcase.showcase import choose_query, showcase_of_arm
from lidardistill.showcase.trained import load_method
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.pretrain.run import pretrain


@pytest.fixture(scope="module")
def arm(nuscenes_one: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps on the real keyframe, with the teacher's features cached, so that its images were not
    decoded."""
    folder = tmp_path_factory.mktemp("arm")
    values = {
        "name": "tiny",
        "data": {
            "dataroot": str(nuscenes_one),
            "version": "v1.0-mini",
            "split": "mini_train",
            "superpixels": {"num_superpixels": 40, "scale": 4, "cache": str(folder / "superpixels")},
            "augment": {
                "image_size": [56, 100],
                "drop_cuboid": False,
                "crop_images": False,
                "flip_images": False,
            },
            "batch_size": 1,
            "num_workers": 0,
        },
        "voxels": {"kind": "cartesian", "voxel_size": [0.6, 0.6, 0.6]},
        "student": {"preset": "mini"},
        "teacher": {"kind": "color_histogram"},
        "teacher_cache": str(folder / "teacher"),
        "method": {"normalize": "superpixel", "embedding": 16},
        "optimizer": {"kind": "adamw", "lr": 0.01},
        "schedule": {"kind": "cosine", "per": "step"},
        "trainer": {"max_steps": 2, "accelerator": "cpu", "log_every": 1},
    }
    config = validate(PretrainConfig, values, source="test")
    pretrain(config, folder / "pretrained" / "pretrain", progress=False)
    return folder / "pretrained"


def test_a_showcase_of_the_real_keyframe(arm: Path) -> None:
    path = showcase_of_arm(arm)
    assert path == arm / "showcase.npz"
    assert path.stat().st_size < 5_000_000
    first = {name: value.copy() for name, value in np.load(path, allow_pickle=False).items()}
    assert first["images"].shape == (6, 56, 100, 3)
    assert first["images"].dtype == first["pca_points"].dtype == first["pca_images"].dtype == np.uint8
    num_points = len(first["points"])
    assert first["pca_points"].shape == (num_points, 3)
    assert first["pca_images"].shape == (6, 56, 100, 3)
    assert "labels" not in first  # this root has none
    assert ((first["position_r2"] >= 0) & (first["position_r2"] <= 1)).all()

    query = int(first["query"])
    assert query in first["pairing_points"]
    assert first["similarity_points"][query] == pytest.approx(1, abs=1e-3)
    assert np.abs(first["similarity_points"].astype(float)).max() <= 1.001
    assert np.abs(first["similarity_images"].astype(float)).max() <= 1.001
    view, row, col = first["pairing_images"].T
    assert (view.min(), view.max()) == (0, 5)
    assert row.max() < 56
    assert col.max() < 100
    assert (first["depth"] >= 1).all()
    xyz = first["points"][first["pairing_points"], :3]
    assert (np.linalg.norm(xyz, axis=1) > 0.9 * first["depth"].astype(float) - 1.5).all()

    showcase_of_arm(arm)
    again = np.load(path, allow_pickle=False)
    assert all(np.array_equal(again[name], value) for name, value in first.items())

    scene = Scene.read(path)
    assert scene.pairs_picture().std() > 20
    assert not scene.is_labelled


def test_weights_are_those_of_the_run(arm: Path) -> None:
    from lidardistill.exchange.of_run import BACKBONE_FILE
    from lidardistill.tasks.runs import read_run
    from lidardistill.weights import load_checkpoint_tensors

    method = load_method(read_run(arm / "pretrain", PretrainConfig), arm / "pretrain")
    saved = load_checkpoint_tensors(arm / "pretrain" / BACKBONE_FILE)
    mine = method.student.state_dict()
    assert not method.training
    assert all(np.array_equal(mine[name], saved[name]) for name in saved)


def test_without_a_checkpoint_it_says_so(arm: Path, tmp_path: Path) -> None:
    (tmp_path / "pretrain").mkdir()
    (tmp_path / "pretrain" / "config.yaml").write_text((arm / "pretrain" / "config.yaml").read_text())
    with pytest.raises(ValueError, match="no finished checkpoint"):
        showcase_of_arm(tmp_path)
    with pytest.raises(FileNotFoundError):
        showcase_of_arm(tmp_path / "nowhere")


def test_the_query_lies_inside_an_object() -> None:
    rng = np.random.default_rng(0)
    ground = np.column_stack([rng.uniform(-20, 20, (500, 2)), np.full(500, -1.8)])
    car = rng.normal((3, 9, -0.8), 0.3, (80, 3))
    points = np.concatenate([ground, car, [[3, 9, -0.8], [15, 15, 2.0]]])
    labels = np.full(len(points), CLASSES.index("driveable_surface"), np.uint8)
    labels[500:] = CLASSES.index("car")
    everything = np.arange(len(points))
    depth = np.linalg.norm(points, axis=1)
    chosen = choose_query(points, everything, depth, labels)
    assert labels[chosen] == CLASSES.index("car")
    assert np.linalg.norm(points[chosen] - (3, 9, -0.8)) < 0.6
    assert points[choose_query(points, everything, depth, None), 2] > -1.5
    assert choose_query(points, np.zeros(0, np.int64), np.zeros(0), labels) < len(points)
