"""CALICO's second stage against its formula written out, and with the networks that it trains and freezes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lidardistill.backbones.base import MapFeatures
from lidardistill.backbones.camera_bev.net import build_camera_bev
from lidardistill.backbones.lidar_bev.net import PRESETS, build_lidar_bev
from lidardistill.data.batch import VoxelBatch
from lidardistill.data.collate import collate_voxels
from lidardistill.data.config import AugmentConfig
from lidardistill.data.keyframes import Keyframes
from lidardistill.methods.calico_rad.config import RADConfig
from lidardistill.methods.calico_rad.lidar_teacher import LidarTeacher
from lidardistill.methods.calico_rad.method import RAD
from lidardistill.methods.calico_rad.sample import RegionImageBatch, RegionImages
from lidardistill.methods.heads import ProjectionHead
from lidardistill.ops.bev_grid import BevGrid
from tests.support.inputs import scan_input
from tests.support.streets import Street

CAMERA_GRID = BevGrid.of_range((-6.0, -6.0, 6.0, 6.0), 1.0)
LIDAR_GRID = BevGrid.of_range((-4.0, -4.0, 4.0, 4.0), 0.5)
NUM_POINTS = (7, 4)
REGION = [0, 0, 0, 1, 1, 9, 9, 2, 2, 3, 9]  # 9 stands where no region is
RICH = [1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0]


class Maps(nn.Module):
    """A camera network that answers with maps that it has learnt by heart."""

    def __init__(self, grid: BevGrid, channels: int, *, seed: int) -> None:
        super().__init__()
        self.grid, self.out_channels = grid, channels
        draw = torch.Generator().manual_seed(seed)
        self.maps = nn.Parameter(torch.randn(2, channels, grid.height, grid.width, generator=draw))

    def forward(self, images: Tensor, batch_size: int, **matrices: Tensor) -> tuple[Tensor, None]:
        assert batch_size == 2
        return self.maps, None


class LidarMaps(Maps):
    """A LiDAR network that answers with maps that it has learnt by heart."""

    def forward(self, scans: VoxelBatch) -> MapFeatures:  # type: ignore[override]
        assert scans.batch_size == 2
        return MapFeatures(self.maps, self.grid, scans, (self.grid.height, self.grid.width))


def make_batch(seed: int = 1) -> RegionImageBatch:
    draw = torch.Generator().manual_seed(seed)
    empty = scan_input(kind="cartesian").read(np.zeros((0, 4), np.float32))
    return RegionImageBatch(
        sample_tokens=("a", "b"),
        voxels=collate_voxels([empty] * 2),
        images=torch.zeros(3, 3, 4, 4),
        lidar2img=torch.eye(4, dtype=torch.float64).repeat(3, 1, 1),
        view_sample=torch.tensor([0, 0, 1]),
        xy=torch.rand(len(REGION), 2, generator=draw) * 7 - 3.5,
        lidar_xy=torch.rand(len(REGION), 2, generator=draw) * 7 - 3.5,
        batch_idx=torch.tensor([0] * NUM_POINTS[0] + [1] * NUM_POINTS[1]),
        num_points=NUM_POINTS,
        region=torch.tensor(REGION),
        region_mask=torch.tensor(RICH, dtype=torch.bool),
        centre_xy=torch.rand(4, 2, generator=draw) * 4 - 2,
        size_xy=torch.rand(4, 2, generator=draw) * 6,
    )


@pytest.fixture
def batch() -> RegionImageBatch:
    return make_batch()


def build(**options: object) -> RAD:
    torch.manual_seed(0)
    student = Maps(CAMERA_GRID, 5, seed=5)
    teacher = LidarTeacher(LidarMaps(LIDAR_GRID, 6, seed=6))  # type: ignore[arg-type]
    return RAD(config(**options), student, teacher)  # type: ignore[arg-type]


def config(**options: object) -> RADConfig:
    chosen = {"hidden": 24, "embedding": 8, "temperature": 0.2, **options}
    return RADConfig(kind="calico_rad", lidar_weights="random", **chosen)  # type: ignore[arg-type]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_rows(
    maps: Tensor, grid: BevGrid, head: ProjectionHead, batch: RegionImageBatch, at: Tensor
) -> Tensor:
    """Four cells around each point, then the projector, one point after the other."""
    values = []
    for (x, y), keyframe in zip(at.tolist(), batch.batch_idx.tolist(), strict=True):
        column, row = (x - grid.x_min) / grid.cell_size - 0.5, (y - grid.y_min) / grid.cell_size - 0.5
        c, r = math.floor(column), math.floor(row)
        total, weights = torch.zeros(maps.shape[1]), 0.0
        for i, j in ((r, c), (r, c + 1), (r + 1, c), (r + 1, c + 1)):
            if 0 <= i < grid.height and 0 <= j < grid.width:
                weight = (1 - abs(row - i)) * (1 - abs(column - j))
                total = total + weight * maps[keyframe, :, i, j]
                weights += weight
        values.append(total / weights)
    hidden = torch.stack(values) @ head.linear.weight.T
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
    hidden = hidden * head.norm.weight + head.norm.bias
    return F.normalize(head.head.linear(hidden.clamp(min=0)), dim=1)


def slow_loss(method: RAD, batch: RegionImageBatch, keyframes: list[slice], denominator: str) -> Tensor:
    """L_RAD of each keyframe, point by point."""
    c = slow_rows(method.student.maps, CAMERA_GRID, method.student_head, batch, batch.xy)
    l = slow_rows(method.teacher.network.maps, LIDAR_GRID, method.teacher_head, batch, batch.lidar_xy)
    losses = []
    for rows in keyframes:
        region, rich = batch.region[rows].tolist(), batch.region_mask[rows].tolist()
        similar = (c[rows] @ l[rows].T / 0.2).exp()
        candidates = [k for k in range(len(rich)) if rich[k] or denominator == "all"]
        by_region: dict[int, list[Tensor]] = {}
        for i in (i for i, is_rich in enumerate(rich) if is_rich):
            share = similar[i, i] / sum(similar[i, k] for k in candidates)
            by_region.setdefault(region[i], []).append(-share.log())
        losses.append(sum(sum(found) / len(found) for found in by_region.values()) / len(by_region))
    return sum(losses) / len(losses)


def trained(method: RAD) -> list[Tensor]:
    return [p for p in method.parameters() if p.requires_grad]


@pytest.mark.parametrize("denominator", ["all", "rich"])
@pytest.mark.parametrize("negatives", ["scene", "batch"])
def test_loss_and_gradients_are_the_formula(batch, negatives: str, denominator: str) -> None:
    method = build(negatives=negatives, denominator=denominator)
    keyframes = [slice(0, 7), slice(7, 11)] if negatives == "scene" else [slice(0, 11)]
    terms, slow = method(batch, generator=generator()), slow_loss(method, batch, keyframes, denominator)
    torch.testing.assert_close(terms.loss, slow, rtol=1e-5, atol=1e-5)
    for a, b in zip(
        torch.autograd.grad(terms.loss, trained(method)),
        torch.autograd.grad(slow, trained(method)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    counts = terms.counts
    assert (counts["points"], int(counts["rich_points"]), counts["regions"], counts["views"]) == (11, 8, 4, 3)


def test_only_cameras_and_projectors_train(batch: RegionImageBatch) -> None:
    method = build().train()
    teacher = method.teacher.network
    before = teacher.maps.detach().clone()
    method(batch, generator=generator()).loss.backward()
    assert {name.split(".")[0] for name, p in method.named_parameters() if p.requires_grad} == {
        "student", "student_head", "teacher_head",
    }  # fmt: skip
    assert all(p.grad.abs().sum() > 0 for p in (method.student.maps, method.teacher_head.linear.weight))
    assert teacher.maps.grad is None
    assert torch.equal(teacher.maps, before)
    assert not method.teacher.training
    assert not teacher.training


def test_the_ablation_weighs_points_by_their_distance_from_the_middle(batch: RegionImageBatch) -> None:
    far = replace(batch, xy=batch.xy.clone())
    first = far.region_mask & (far.region == 0)
    far.xy[first] = far.centre_xy[0] + torch.tensor([[0.0, 0.0], [30.0, 0.0], [30.0, 1.0]])
    weight = build(weighting="gaussian").weights(far)
    assert weight[first].tolist() == [1.0, 0.0, 0.0]
    assert not weight[~far.region_mask].any()
    assert build().weights(far) is None
    losses = {w: build(weighting=w)(batch, generator=generator()).loss.item() for w in ("region", "gaussian")}
    assert losses["region"] != losses["gaussian"]


def test_the_permuted_control_draws_partners(batch: RegionImageBatch) -> None:
    real = build()(batch, generator=generator()).loss.item()
    losses = {build(pairing="permuted")(batch, generator=generator(seed)).loss.item() for seed in range(3)}
    assert len(losses | {real}) == 4
    assert build()(batch, generator=generator(5)).loss.item() == real


def test_diagnostics_come_when_asked_for(batch: RegionImageBatch) -> None:
    assert build()(batch, generator=generator()).diagnostics == {}
    for denominator, count in (("all", 7), ("rich", 5)):
        found = build(denominator=denominator)(batch, generator=generator(), diagnose=True).diagnostics
        assert found["log_candidates"].item() == pytest.approx(math.log(count))


@pytest.mark.parametrize("weighting", ["region", "gaussian"])
@pytest.mark.parametrize("case", ["no points", "no regions", "one keyframe without regions", "one point"])
def test_little_to_compare_is_a_value(batch: RegionImageBatch, case: str, weighting: str) -> None:
    rows = {"no points": [], "one point": [0]}.get(case, list(range(11)))
    mask = batch.region_mask.clone()
    if case == "no regions":
        mask[:] = False
    elif case == "one keyframe without regions":
        mask[7:] = False
    none = case in ("no points", "no regions")
    less = replace(
        batch,
        **{name: getattr(batch, name)[rows] for name in ("xy", "lidar_xy", "batch_idx", "region")},
        region_mask=mask[rows],
        num_points=tuple(batch.batch_idx[rows].tolist().count(keyframe) for keyframe in range(2)),
        centre_xy=batch.centre_xy[:0] if none else batch.centre_xy,
        size_xy=batch.size_xy[:0] if none else batch.size_xy,
    )
    method = build(weighting=weighting)
    terms = method(less, generator=generator(), diagnose=True)
    terms.loss.backward()
    assert terms.loss.isfinite()
    assert (terms.loss.item() > 0) == (case == "one keyframe without regions")
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained(method))


@pytest.fixture(scope="module")
def real_batch(tmp_path_factory: pytest.TempPathFactory) -> RegionImageBatch:
    """A street with two cameras, as the loader hands it on."""
    chosen = PRESETS["pillars_mini"]
    voxels = scan_input(
        kind="cartesian",
        voxel_size=chosen.voxel_size,
        point_cloud_range=chosen.point_cloud_range,
        point_features=("x", "y", "z", "intensity"),
        align=1,
        per_point=True,
    )
    folder: Path = tmp_path_factory.mktemp("street")
    augment = AugmentConfig(image_size=(64, 96), drop_cuboid=False, crop_images=False)
    recipe = RegionImages(config(), voxels, augment)
    return recipe.collate([Keyframes(Street(folder), [0], recipe, seed=0)[(0, 0, 0)]])


def real_method(**options: object) -> RAD:
    torch.manual_seed(0)
    camera, lidar = build_camera_bev("mini"), build_lidar_bev("pillars_mini", 4)
    chosen = config(hidden=32, embedding=16, temperature=0.07, **options)
    return RAD(chosen, camera, LidarTeacher(lidar)).train()


def steps(method: RAD, batch: RegionImageBatch, count: int) -> list[float]:
    optimizer = torch.optim.Adam(trained(method), lr=3e-3)
    losses = []
    for step in range(count):
        optimizer.zero_grad()
        terms = method(batch, generator=generator(step))
        terms.loss.backward()
        optimizer.step()
        losses.append(terms.loss.item())
    return losses


def test_the_camera_network_learns_one_keyframe_and_cannot_learn_a_shuffled_one(real_batch) -> None:
    real = steps(real_method(), real_batch, 12)
    permuted = steps(real_method(pairing="permuted"), real_batch, 12)
    guess = math.log(sum(real_batch.num_points))
    assert min(real[-3:]) < guess - 0.5
    assert min(permuted[-3:]) > guess - 0.1


def test_every_trained_weight_gets_a_gradient_and_statistics_of_the_teacher_stay(real_batch) -> None:
    method = real_method()
    before = {name: value.clone() for name, value in method.teacher.state_dict().items()}
    method(real_batch, generator=generator()).loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained(method))
    assert method.student.encoder.stages.network._conv_stem.weight.grad.abs().sum() > 0
    assert all(torch.equal(value, before[name]) for name, value in method.teacher.state_dict().items())


def test_a_gradient_repeats_bit_by_bit_on_two_threads(real_batch, two_threads: None) -> None:
    method = real_method()

    def step() -> Tensor:
        method.zero_grad()
        method(real_batch, generator=generator()).loss.backward()
        return torch.cat([p.grad.flatten() for p in trained(method)])

    first, *others = (step() for _ in range(3))
    assert all(torch.equal(first, other) for other in others)
