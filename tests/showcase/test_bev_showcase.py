"""Finished runs whose networks make maps give the arrays that a report draws, and the report draws them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from lidardistill.cli.main import app
from lidardistill.datasets.nuscenes.labels.boxes import BoxTable
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.report.bev_scene import BevScene
from lidardistill.report.runs import finished_runs
from lidardistill.showcase.bev_showcase import BEV_SHOWCASE_FILE, write_bev_showcase
from lidardistill.showcase.pictures import write_pictures
from lidardistill.tasks.detect.run import detect
from lidardistill.tasks.pretrain.run import pretrain

pytest.importorskip("nuscenes", reason="scores come from nuscenes-devkit")


@pytest.fixture(scope="module")
def arms(detection_world, configs, tmp_path_factory):
    """A pretrained arm with its detector, and a run of the second stage."""
    home = tmp_path_factory.mktemp("arms")
    first = home / "pretrained" / "pretrain"
    assert pretrain(configs["calico"](detection_world), first, progress=False).exit_code == 0
    detect(configs["detect"](detection_world), "random", home / "pretrained" / "detect", progress=False)
    second = configs["calico_rad"](detection_world, first)
    assert pretrain(second, home / "rad", progress=False).exit_code == 0
    return home


def test_a_detector(arms, detection_world):
    run = arms / "pretrained" / "detect"
    scene = BevScene.read(write_bev_showcase(run))
    index = NuScenesIndex.open(detection_world, "v1.0-mini")
    row = index.row_of(scene.text("sample_token"))
    truth = BoxTable.open(index).read(row)
    assert index.scene_name(row) == scene.text("scene")
    assert len(scene["true_boxes"]) == int((truth.num_lidar_pts >= 1).sum())
    assert scene["boxes"].shape == (len(scene["scores"]), 9)
    assert scene["maps"].shape == (1, 16, 16, 3)
    assert scene["occupied"].any()
    assert len(scene["region"]) == len(scene["points"])
    for picture in (
        scene.detections_bev(),
        scene.detections_cameras(),
        scene.maps_picture(),
        scene.clusters_picture(),
    ):
        assert picture.dtype == np.uint8
        assert picture.std() > 1


@pytest.mark.parametrize(("name", "maps"), [("pretrained/pretrain", 1), ("rad", 2)])
def test_pretraining_reads_no_boxes(arms, name, maps, monkeypatch):
    monkeypatch.setattr(BoxTable, "open", lambda *_, **__: pytest.fail("boxes were opened"))
    scene = BevScene.read(write_bev_showcase(arms / name))
    assert not scene.is_detected
    assert len(scene["maps"]) == len(scene["map_names"]) == maps
    assert scene.text("split").endswith("val")
    assert scene.maps_picture().std() > 1


def test_which_runs_have_pictures(arms, pretrained):
    runs = finished_runs([arms / "pretrained", arms / "rad", pretrained, arms / "nowhere"])
    first = arms / "pretrained"
    assert list(runs) == [first / "pretrain", first / "detect", arms / "rad", pretrained]


def test_a_run_without_a_map_shows_its_points(pretrained, tmp_path):
    run = shutil.copytree(pretrained, tmp_path / "run")
    assert write_pictures({run: None}) == []
    scene = BevScene.read(run / BEV_SHOWCASE_FILE)
    assert [str(name) for name in scene["map_names"]] == ["point features, averaged by cell"]
    assert scene.maps_picture().std() > 1
    assert (run / "showcase.npz").is_file()


def test_pictures_that_are_left_out_are_named(arms, tmp_path):
    run = shutil.copytree(arms / "rad", tmp_path / "run")
    (run / BEV_SHOWCASE_FILE).unlink(missing_ok=True)
    (note,) = write_pictures({run: None})
    assert "compares no points with pixels" in note
    (run / BEV_SHOWCASE_FILE).unlink()
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("detection", "moved"))
    (note,) = write_pictures({run: None})
    assert str(run) in note


def test_the_page_shows_them(arms, tmp_path):
    page = tmp_path / "page.html"
    words = ["report", str(arms / "pretrained"), str(arms / "rad"), "--out", str(page)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    text = page.read_text()
    for said in (
        "NDS",
        "mAP",
        "AP of traffic cone",
        "Detections of one keyframe",
        "Features of calico_prc from above",
    ):
        assert said in text
    assert "None of these runs has a score yet" not in text
    assert "Features of calico_rad from above" in text
    assert "LiDAR, random first weights" in text
    assert text.count("<figure>") >= 6
