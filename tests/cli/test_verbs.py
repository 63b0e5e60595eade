"""Verbs that read one root: pairs, superpixels, doctor, synth."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from lidardistill.cli import synth
from lidardistill.cli.main import app
from lidardistill.datasets.kinds import source_config
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.datasets.nuscenes.tables import CAMERAS
from lidardistill.doctor.checks import Finding, check_data, check_environment
from lidardistill.doctor.environment import package_findings, spconv_findings, torchvision_findings

VERSION = "v1.0-mini"


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def own_world(tiny_world, tmp_path):
    return shutil.copytree(tiny_world, tmp_path / "world", ignore=shutil.ignore_patterns(".lidardistill"))


def levels(findings: list[Finding]) -> dict[str, list[str]]:
    return {level: [f.text for f in findings if f.level == level] for level in ("ok", "warning", "error")}


def test_pairs_of_the_real_keyframe(nuscenes_one, tmp_path):
    index = NuScenesIndex.open(nuscenes_one, VERSION)
    out, picture = tmp_path / "pairs.npz", tmp_path / "pairs.png"
    common = ("--dataroot", nuscenes_one, "--version", VERSION, "--sample", index.sample_token(0))
    result = invoke("pairs", *common, "--out", out, "--picture", picture)
    assert result.exit_code == 0, result.output
    with np.load(out) as stored:
        arrays = dict(stored)
    assert set(arrays) == {"pairing_points", "pairing_images", "depth", "views"}
    pairs = len(arrays["depth"])
    assert 22_000 < pairs < 22_200
    assert f"{pairs} pairs of 34688 points and 6 cameras" in result.output
    assert (arrays["pairing_points"].dtype, arrays["pairing_points"].shape) == (np.int64, (pairs,))
    assert (arrays["pairing_images"].dtype, arrays["pairing_images"].shape) == (np.int64, (pairs, 3))
    assert arrays["depth"].dtype == np.float32
    assert arrays["views"].tolist() == list(CAMERAS)
    assert arrays["pairing_points"].max() < 34_688
    assert (arrays["pairing_images"].max(axis=0) < [6, 900, 1600]).all()
    assert picture.stat().st_size > 10_000
    hidden = invoke("pairs", *common, "--out", tmp_path / "seen.npz", "--visibility", "zbuffer")
    assert "hidden from the camera:" in hidden.output
    with np.load(tmp_path / "seen.npz") as seen:
        assert 0 < len(seen["depth"]) < pairs


def test_superpixels_twice(own_world, tmp_path):
    words = ("superpixels", "--dataroot", own_world, "--version", VERSION, "--out", tmp_path / "cache")
    words += ("--num-superpixels", "12", "--split", "mini_val", "--workers", "1")
    first = invoke(*words)
    assert first.exit_code == 0, first.output
    assert "computed=24" in first.output.replace(" ", "") or "24" in first.output
    assert "data.superpixels.preset=exact data.superpixels.num_superpixels=12" in " ".join(
        first.output.split()
    )
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    second = invoke(*words)
    assert second.exit_code == 0
    assert {
        path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*") if path.is_file()
    } == files
    assert first.output != second.output
    other = invoke(*words, "--preset", "reference")
    assert other.exit_code == 0
    assert sum(path.is_file() for path in (tmp_path / "cache").rglob("*")) == 2 * len(files)
    wrong = invoke(*words, "--preset", "exakt")
    assert wrong.exit_code != 0
    assert "superpixels.preset" in str(wrong.exception)


def test_synth_hands_on_its_options(tmp_path, monkeypatch):
    got = {}

    def fake(out, **options):
        options.pop("on_progress")(1, 4, "scene-0061")
        got.update(out=out, **options)

    monkeypatch.setattr("lidardistill.synthetic.write.dataset.write_world", fake)
    words = ("--train-scenes", 1, "--val-scenes", 1, "--keyframes", 2, "--seed", 3, "--image-size", "45x80")
    result = invoke("synth", "--out", tmp_path / "w", *words, "--palette", "overlapping")
    assert result.exit_code == 0, result.output
    assert got == {
        "out": tmp_path / "w", "train_scenes": 1, "val_scenes": 1, "keyframes": 2, "seed": 3,
        "image_size": (45, 80), "palette": "overlapping",
    }  # fmt: skip
    assert synth.__doc__


@pytest.mark.slow
def test_synth_writes_a_root_that_doctor_likes(tmp_path):
    words = ("--train-scenes", 1, "--val-scenes", 0, "--keyframes", 1, "--image-size", "45x80")
    assert invoke("synth", "--out", tmp_path / "w", *words).exit_code == 0
    assert levels(check_data(source_config("nuscenes", tmp_path / "w", VERSION)))["error"] == []


def test_doctor_on_the_real_keyframe(nuscenes_one):
    found = levels(check_data(source_config("nuscenes", nuscenes_one, VERSION)))
    assert found["error"] == []
    assert any("1 scenes, 1 keyframes" in text for text in found["ok"])
    assert any("CAM_BACK 13." in text for text in found["ok"])
    assert found["warning"] == [text for text in found["warning"] if "lidarseg" in text]


def test_doctor_on_a_whole_world(own_world):
    result = invoke("doctor", "--dataroot", own_world, "--version", VERSION)
    assert result.exit_code == 0, result.output
    assert "error" not in result.output.replace("0 errors", "")
    assert "lidarseg: one label a point" in result.output
    assert all(
        line.split()[0] in ("ok", "warning", "all")
        for line in result.output.splitlines()
        if "index" not in line
    )


def test_doctor_on_a_damaged_world(own_world):
    index = NuScenesIndex.open(own_world, VERSION)
    scan, gone, cut = index.lidar_path(0), index.image_paths(1)[2], index.image_paths(2)[4]
    scan.write_bytes(b"")
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:100])
    label = index.lidarseg_path(3)
    label.write_bytes(label.read_bytes()[:-5])
    result = invoke("doctor", "--dataroot", own_world, "--version", VERSION)
    assert result.exit_code == 1
    errors = [line for line in result.output.splitlines() if line.startswith("error ")]
    assert len(errors) == 4, result.output
    for path in (scan, gone, cut, label):
        assert any(str(path) in line for line in errors)
    assert result.output.splitlines()[-1] == "4 errors"


def test_doctor_sees_late_cameras_and_a_camera_that_sees_nothing(own_world, monkeypatch):
    real = NuScenesIndex.frame

    def frame(self, row):
        found = real(self, row)
        found.image_timestamps_us[1] += 90_000
        found.lidar2cam[4, :3, 3] += [0, 0, -500]
        return found

    monkeypatch.setattr(NuScenesIndex, "frame", frame)
    found = levels(check_data(source_config("nuscenes", own_world, VERSION)))
    assert any("far from the LiDAR's time: CAM_FRONT_RIGHT" in text for text in found["warning"])
    assert any(text.startswith("CAM_BACK_LEFT: less than 1% of the points") for text in found["warning"])
    assert found["error"] == []


def test_doctor_sees_a_calibration_that_is_not_rigid(own_world, monkeypatch):
    real = NuScenesIndex.frame

    def frame(self, row):
        found = real(self, row)
        found.lidar2cam[3, 2] *= -1  # mirrors
        return found

    monkeypatch.setattr(NuScenesIndex, "frame", frame)
    (error,) = levels(check_data(source_config("nuscenes", own_world, VERSION)))["error"]
    assert "lidar2cam of CAM_BACK is not a rigid motion" in error


def test_doctor_without_labels_and_without_tables(own_world, tmp_path):
    shutil.rmtree(own_world / "lidarseg")
    found = levels(check_data(source_config("nuscenes", own_world, VERSION)))
    assert found["error"] == []
    assert "Pretraining does without" in found["warning"][-1]
    (finding,) = check_data(source_config("nuscenes", tmp_path / "nothing", VERSION))
    assert finding.level == "error"
    assert len(str(finding).splitlines()) == 1


def test_this_environment_has_no_error():
    found = levels(check_environment())
    assert found["error"] == []
    assert any(text.startswith(f"Python {sys.version_info[0]}.{sys.version_info[1]}") for text in found["ok"])
    assert str(Finding("ok", "torch 2.13.0+cpu")) == "ok      torch 2.13.0+cpu"


@pytest.mark.parametrize(
    ("installed", "cuda", "gpu", "expected"),
    [
        ({"spconv": "2.3.8", "cumm": "0.7.11"}, None, False, ["ok"]),
        ({}, None, False, ["ok"]),
        ({}, "12.4", True, ["error"]),
        ({"spconv": "2.3.8"}, "12.4", True, ["error"]),
        ({"spconv-cu124": "2.3.8", "cumm-cu124": "0.7.11"}, "12.4", True, ["ok"]),
        ({"spconv-cu120": "2.3.6", "cumm-cu120": "0.4"}, "13.0", True, ["warning"]),
        ({"spconv-cu120": "2.3.6", "cumm-cu120": "0.4", "cumm": "0.7"}, "12.0", True, ["ok", "error"]),
        ({"spconv": "2.3.8", "spconv-cu120": "2.3.6"}, "12.0", True, ["error"]),
    ],
)
def test_spconv_wheels(installed, cuda, gpu, expected):
    assert [finding.level for finding in spconv_findings(installed, cuda, gpu=gpu)] == expected


@pytest.mark.parametrize(
    ("installed", "required", "expected"),
    [
        ({"torch": "2.13.0+cpu"}, None, []),
        ({"torch": "2.13.0+cpu", "torchvision": "0.28.0"}, "2.13.0", ["warning"]),
        ({"torch": "2.13.0+cpu", "torchvision": "0.28.0+cpu"}, "2.13.0", ["ok"]),
        ({"torch": "2.13.0+cu126", "torchvision": "0.28.0"}, "2.13.0", ["ok"]),
        ({"torch": "2.12.0", "torchvision": "0.28.0"}, "2.13.0", ["warning"]),
    ],
)
def test_a_torchvision_that_cannot_work(installed, required, expected):
    assert [finding.level for finding in torchvision_findings(installed, required)] == expected


def test_missing_packages_name_their_extra():
    found = levels(package_findings({"numpy": "1.24.4"}))
    assert [text.split()[0] for text in found["error"]] == ["numpy", "numba"]
    assert any("pip install nuscenes-devkit==1.2.0" in text for text in found["warning"])
