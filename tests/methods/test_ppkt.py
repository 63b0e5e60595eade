"""PPKT's step against its formula on upsampled maps, and from config to run folder."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lidardistill.backbones.base import Backbone, Features
from lidardistill.config.io import load_config
from lidardistill.data.batch import VoxelBatch
from lidardistill.engine.logging import read_metrics
from lidardistill.methods.image_pairs import PairBatch
from lidardistill.methods.of_run import method_of, recipe_of
from lidardistill.methods.ppkt.config import PPKTConfig
from lidardistill.methods.ppkt.method import PPKT
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.pretrain.dry_run import dry_run_report
from lidardistill.tasks.pretrain.run import pretrain

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "pretrain"
VIEWS, HEIGHT, WIDTH = 3, 16, 24


class Student(Backbone):
    """A linear map of voxel features."""

    out_channels = 8

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 8)

    def forward(self, scans: VoxelBatch) -> Features:
        return Features(self.linear(scans.features), scans.point2voxel, scans.point_mask)


class Teacher(nn.Module):
    """Average pooling and two more channels."""

    out_channels = 5

    def forward(self, images: Tensor) -> Tensor:
        small = F.avg_pool2d(images, 4)
        return torch.cat([small, small[:, :2].square()], dim=1)


@pytest.fixture
def batch() -> PairBatch:
    draw = torch.Generator().manual_seed(1)
    points, voxels, pairs = 60, 40, 150
    return PairBatch(
        sample_tokens=("a", "b"),
        points=torch.randn(points, 4, generator=draw),
        point_offsets=torch.tensor([0, 30, 60]),
        voxels=VoxelBatch(
            features=torch.randn(voxels, 2, generator=draw),
            voxel_coords=torch.zeros(voxels, 4, dtype=torch.int32),
            spatial_shape=(16, 16, 16),
            point2voxel=torch.randint(voxels, (points,), generator=draw),
            point_mask=torch.ones(points, dtype=torch.bool),
            batch_size=2,
        ),
        images=torch.rand(VIEWS, 3, HEIGHT, WIDTH, generator=draw),
        view_offsets=torch.tensor([0, 2, 3]),
        superpixels=None,
        superpixel_mask=None,
        num_superpixels=0,
        pairing_points=torch.randint(points, (pairs,), generator=draw),
        pairing_images=torch.stack(
            [torch.randint(size, (pairs,), generator=draw) for size in (VIEWS, HEIGHT, WIDTH)], dim=1
        ),
    )


def build(**options: object) -> PPKT:
    torch.manual_seed(0)
    return PPKT(PPKTConfig(kind="ppkt", embedding=4, **options), Student(), Teacher())  # type: ignore[arg-type]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def published_loss(method: PPKT, batch: PairBatch, chosen: Tensor) -> Tensor:
    """Upsample every map, normalise every pixel, and look pairs up one after the other."""
    points = F.normalize(method.student_head.linear(method.student.linear(batch.voxels.features)), dim=1)
    maps = method.teacher_head.conv(method.teacher(batch.images))
    fine = F.interpolate(maps, size=(HEIGHT, WIDTH), mode="bilinear", align_corners=True)
    fine = F.normalize(fine, dim=1)
    k, q = [], []
    for pair in chosen.tolist():
        view, row, col = batch.pairing_images[pair].tolist()
        k.append(points[batch.voxels.point2voxel[batch.pairing_points[pair]]])
        q.append(fine[view, :, row, col])
    logits = torch.stack(k) @ torch.stack(q).T / 0.07
    return F.cross_entropy(logits, torch.arange(len(logits)))


def gradients(loss: Tensor, method: PPKT) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [p for p in method.parameters() if p.requires_grad]))


@pytest.mark.parametrize("pairs", [4096, 20])
def test_loss_and_gradients_are_the_published_ones(batch: PairBatch, pairs: int) -> None:
    method = build(pairs=pairs)
    terms = method(batch, generator=generator())
    chosen = torch.randperm(150, generator=generator())[:pairs]
    theirs = published_loss(method, batch, chosen)
    torch.testing.assert_close(terms.loss, theirs, rtol=1e-5, atol=1e-5)
    for a, b in zip(gradients(terms.loss, method), gradients(theirs, method), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert terms.counts == {"pairs": 150, "contrasted": min(pairs, 150)}
    assert terms.num_matches == min(pairs, 150)


def test_no_pairs_is_a_zero_with_gradient(batch: PairBatch) -> None:
    method = build()
    empty = replace(batch, pairing_points=batch.pairing_points[:0], pairing_images=batch.pairing_images[:0])
    terms = method(empty, generator=generator(), diagnose=True)
    terms.loss.backward()
    assert terms.loss.item() == 0.0
    assert terms.num_matches == 0
    assert all(p.grad is not None and torch.all(p.grad == 0) for p in method.parameters())


def test_other_pairs_are_drawn_at_every_step(batch: PairBatch) -> None:
    method = build(pairs=20)
    losses = [method(batch, generator=generator(seed)).loss.item() for seed in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]


def test_the_permuted_control_draws_partners(batch: PairBatch) -> None:
    plain = build()(batch, generator=generator()).loss
    losses = {build(pairing="permuted")(batch, generator=generator(seed)).loss.item() for seed in range(3)}
    assert len(losses) == 3
    assert plain.item() not in losses


def test_diagnostics_come_when_asked_for(batch: PairBatch) -> None:
    found = build(pairs=20)(batch, generator=generator(), diagnose=True).diagnostics
    assert found["log_candidates"].item() == pytest.approx(math.log(20))


def test_the_recipe_is_the_published_one() -> None:
    config = load_config(PretrainConfig, CONFIGS / "ppkt_minkunet34.yaml")
    method, optimizer = config.method, config.optimizer
    assert (method.embedding, method.temperature, method.pairs) == (64, 0.07, 4096)
    assert (config.teacher.kind, config.teacher.dilated) == ("resnet50", False)
    assert (config.student.preset, config.data.split, config.voxels.kind) == (
        "minkunet34",
        "slidr_train",
        "cylindrical",
    )
    assert (optimizer.lr, optimizer.momentum, optimizer.dampening, optimizer.weight_decay) == (
        0.5,
        0.9,
        0.1,
        1e-4,
    )
    assert (config.schedule.kind, config.schedule.per, config.schedule.warmup_steps) == ("cosine", "epoch", 0)
    assert (config.trainer.epochs, config.data.batch_size, config.data.augment.image_size) == (
        50,
        4,
        (224, 416),
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("teacher=null", "key 'teacher' is missing: ppkt"),
        ("data.superpixels.cache=somewhere", r"data\.superpixels: ppkt does not read it"),
        ("teacher_cache=somewhere", "teacher_cache: ppkt does not read it"),
        ("student={kind: lidar_bev, preset: voxelnet01}", "needs cartesian"),
        ("method.pairing=other_keyframe", r"method\.pairing"),
    ],
)
def test_what_does_not_fit_is_named(override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_config(PretrainConfig, CONFIGS / "ppkt_minkunet34.yaml", (override,))


def tiny(world: Path, *overrides: str) -> PretrainConfig:
    """Two steps of the demo-sized recipe."""
    changes = (
        f"data.dataroot={world}",
        "data.augment.image_size=[45, 80]",
        "teacher={kind: color_histogram}",
        "schedule.warmup_steps=1",
        "trainer={max_steps: 2, accelerator: cpu, checkpoint_every: 2, log_every: 1}",
    )
    return load_config(PretrainConfig, CONFIGS / "demo_ppkt.yaml", (*changes, *overrides))


def test_from_config_to_run_folder(tiny_world: Path, tmp_path: Path) -> None:
    config = tiny(tiny_world)
    assert recipe_of(config).superpixels is None
    report = dry_run_report(config)
    assert "pairs       " in report
    assert "superpixel" not in report
    assert pretrain(config, tmp_path / "run", progress=False).steps == 2
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert all(line["loss"] > 0 and 0 < line["count/contrasted"] <= line["count/pairs"] for line in lines)
    card = json.loads((tmp_path / "run" / "backbone.json").read_text())
    assert (card["method"]["kind"], card["student"]["preset"]) == ("ppkt", "mini")


def test_a_bev_term_can_be_added(tiny_world: Path) -> None:
    term = "bev_term={stride: 1, cell_size: 1.0, bev_range: [-51, -51, 51, 51]}"
    both = method_of(tiny(tiny_world, term))
    assert both.student is both.term.student
    assert isinstance(both.method, PPKT)
