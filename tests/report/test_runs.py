"""Runs that a report reads: every verb, and roles that follow from configs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lidardistill.report.page import write_page
from lidardistill.report.runs import read_arms
from lidardistill.tasks.runs import VERBS
from tests.support.run_folders import write_part

Write = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path) -> Write:
    def write(name: str, verb: str, metrics: dict[str, Any] | None = None, **config: Any) -> Path:
        run = tmp_path / name
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(yaml.safe_dump({"verb": verb, "seed": 0, **config}))
        if metrics is not None:
            (run / "metrics.json").write_text(json.dumps(metrics))
        return run

    return write


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_can_be_reported(verb: str, tmp_path: Path) -> None:
    run = write_part(tmp_path / "r", verb, miou=None if verb == "pretrain" else 0.3, lines=3)
    (arm,), _ = read_arms([run])
    assert list(arm.parts) == [verb]
    assert "<h1>" in write_page([run], tmp_path / "page.html").read_text()


def test_nothing_to_report_names_every_verb(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to report") as error:
        read_arms([tmp_path])
    assert all(verb in str(error.value) for verb in VERBS)


def test_roles_follow_from_configs_and_not_from_folders(write_run: Write) -> None:
    slidr = write_run("random", "pretrain", method={"kind": "slidr"}, teacher={"kind": "resnet50"})
    runs = [
        slidr,
        write_run("x1", "pretrain", method={"kind": "slidr", "pairing": "permuted"}),
        write_run("x2", "pretrain", method={"kind": "slidr"}, teacher={"kind": "color_histogram"}),
        write_run("pretrained", "probe", weights="random"),
        write_run("x3", "probe", weights=str(slidr)),
    ]
    arms, _ = read_arms(runs)
    assert [arm.role for arm in arms] == ["pretrained", "permuted", "color_histogram", "random", "pretrained"]
    assert len({arm.label for arm in arms}) == len(arms)


def test_the_finding_is_said_whatever_the_folders_are_called(write_run: Write, tmp_path: Path) -> None:
    def judged(miou: float) -> dict[str, Any]:
        return {"miou": miou, "iou": {"car": miou}, "split": "val", "evaluator": "e"}

    slidr = write_run("first", "pretrain", method={"kind": "slidr"})
    write_run("a/pretrain", "pretrain", method={"kind": "slidr"})
    write_run("a/probe", "probe", judged(0.4), weights=str(slidr))
    random = write_run("b", "probe", judged(0.1), weights="random")
    page = write_page([tmp_path / "a", random], tmp_path / "page.html").read_text()
    assert "<b>+30.0 mIoU</b>: 40.0 instead of 10.0" in page


def test_map_segmentation_has_scores_and_pictures(write_run: Write, tmp_path: Path) -> None:
    names = ["drivable_area", "walkway"]
    metrics = {
        "miou": 0.25,
        "iou": {"drivable_area": 0.5, "walkway": None},
        "threshold": {"drivable_area": 0.4, "walkway": None},
        "split": "mini_val",
        "evaluator": "lidardistill, BEVFusion's protocol",
    }
    run = write_run("m", "mapseg", metrics, weights="random")
    masks = np.zeros((1, 2, 20, 20), bool)
    masks[:, 0, 5:15] = True
    np.savez(
        run / "maps.npz",
        classes=np.array(names),
        masks=masks,
        probabilities=masks.astype(np.float16),
        sample_tokens=np.array(["0123456789"]),
        bev_range=np.array([-50.0, -50, 50, 50]),
    )
    page = write_page([run], tmp_path / "page.html").read_text()
    assert "Map segmentation" in page
    assert "BEVFusion&#x27;s protocol" in page
    assert "drivable area" in page
    assert "<h2>Maps</h2>" in page
    assert "has a score yet" not in page


def test_a_damaged_file_of_maps_is_named(write_run: Write, tmp_path: Path) -> None:
    run = write_run("m", "mapseg", {"miou": 0.2, "iou": {}, "threshold": {}}, weights="random")
    (run / "maps.npz").write_bytes(b"PK")
    assert "maps.npz: no pictures" in write_page([run], tmp_path / "page.html").read_text()


def test_run_folders_of_the_first_release_are_read(tmp_path: Path) -> None:
    """Files as commit c500b0a wrote them: flat keys, `bev_term: null`, no scores of the devices."""
    method = {"kind": "slidr", "embedding": 64, "temperature": 0.07, "pairing": "real"}
    config = {
        "verb": "pretrain",
        "name": "demo",
        "seed": 0,
        "data": {"dataroot": "w", "version": "v1.0-mini", "split": "mini_train"},
        "student": {"kind": "minkunet", "preset": "mini"},
        "teacher": {"kind": "efficientnet_lite0"},
        "method": method,
        "bev_term": None,
    }
    run = tmp_path / "pretrained" / "pretrain"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 6.1, "log_candidates": 6.2}\n')
    (run / "manifest.json").write_text('{"seed": 0, "sessions": [{"outcome": "running"}]}')
    write_part(tmp_path / "pretrained" / "probe", "probe", miou=0.4)
    (arm,), _ = read_arms([tmp_path / "pretrained"])
    assert (arm.role, sorted(arm.parts)) == ("pretrained", ["pretrain", "probe"])
    assert "40.0" in write_page([tmp_path / "pretrained"], tmp_path / "page.html").read_text()
