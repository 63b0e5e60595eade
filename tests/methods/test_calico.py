"""CALICO's first stage against its formulas written out, and with the two backbones that it trains."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lidardistill.backbones.base import MapFeatures
from lidardistill.backbones.lidar_bev.net import PRESETS, build_lidar_bev
from lidardistill.data.batch import VoxelBatch
from lidardistill.data.collate import collate_voxels
from lidardistill.data.keyframes import Keyframes
from lidardistill.methods.calico_prc.config import PRCConfig
from lidardistill.methods.calico_prc.method import PRC
from lidardistill.methods.calico_prc.sample import RegionViewBatch, SweepInTwoViews
from lidardistill.ops.bev_grid import BevGrid
from tests.support.inputs import scan_input
from tests.support.streets import Streets

SCENES, SIZE, CHANNELS = 2, 8, 5
GRID = BevGrid.of_range((-4.0, -4.0, 4.0, 4.0), 1.0)
REGION = [0, 0, 0, 1, 1, 9, 9, 2, 2, 3, 9]  # 9 stands where no region is
RICH = [1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0]
NUM_POINTS = (7, 4)


class Maps(nn.Module):
    """A student that answers with maps that it has learnt by heart."""

    out_channels, grid = CHANNELS, GRID

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(5)
        self.maps = nn.Parameter(torch.randn(2 * SCENES, CHANNELS, SIZE, SIZE, generator=draw))

    def forward(self, scans: VoxelBatch) -> MapFeatures:
        assert scans.batch_size == 2 * SCENES
        return MapFeatures(self.maps, GRID, scans, (SIZE, SIZE))


def make_batch(seed: int = 1) -> RegionViewBatch:
    draw = torch.Generator().manual_seed(seed)
    empty = scan_input(kind="cartesian").read(np.zeros((0, 4), np.float32))
    return RegionViewBatch(
        sample_tokens=("a", "b"),
        voxels=collate_voxels([empty] * 2 * SCENES),
        xy_a=torch.rand(len(REGION), 2, generator=draw) * 7 - 3.5,
        xy_b=torch.rand(len(REGION), 2, generator=draw) * 7 - 3.5,
        batch_idx=torch.tensor([0] * NUM_POINTS[0] + [1] * NUM_POINTS[1]),
        num_points=NUM_POINTS,
        region=torch.tensor(REGION),
        region_mask=torch.tensor(RICH, dtype=torch.bool),
        num_regions=4,
    )


@pytest.fixture
def batch() -> RegionViewBatch:
    return make_batch()


def build(student: nn.Module | None = None, **options: object) -> PRC:
    torch.manual_seed(0)
    return PRC(config(**options), student or Maps())


def config(**options: object) -> PRCConfig:
    chosen = {"hidden": 24, "embedding": 8, "temperature": 0.2, **options}
    return PRCConfig(kind="calico_prc", **chosen)  # type: ignore[arg-type]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_rows(method: PRC, batch: RegionViewBatch) -> tuple[Tensor, Tensor]:
    """Four cells around each point, then the projector, one point after the other."""
    values = []
    for first, xy_of_view in ((0, batch.xy_a), (SCENES, batch.xy_b)):
        for (x, y), scene in zip(xy_of_view.tolist(), batch.batch_idx.tolist(), strict=True):
            column, row = x + 4 - 0.5, y + 4 - 0.5
            c, r = math.floor(column), math.floor(row)
            total, weights = torch.zeros(CHANNELS), 0.0
            for i, j in ((r, c), (r, c + 1), (r + 1, c), (r + 1, c + 1)):
                if 0 <= i < SIZE and 0 <= j < SIZE:
                    weight = (1 - abs(row - i)) * (1 - abs(column - j))
                    total = total + weight * method.student.maps[first + scene, :, i, j]
                    weights += weight
            values.append(total / weights)
    hidden = torch.stack(values) @ method.projector.linear.weight.T
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
    hidden = hidden * method.projector.norm.weight + method.projector.norm.bias
    rows = F.normalize(method.projector.head.linear(hidden.clamp(min=0)), dim=1)
    half = len(batch.xy_a)
    return rows[:half], rows[half:]


def slow_loss(method: PRC, batch: RegionViewBatch, scenes: list[slice]) -> Tensor:
    """L = alpha L_PLRC + (1 - alpha) L_RAPC of each scene and direction."""
    a, b = slow_rows(method, batch)
    losses = []
    for rows in scenes:
        region, rich = batch.region[rows].tolist(), batch.region_mask[rows].tolist()
        for z, other in ((a[rows], b[rows]), (b[rows], a[rows])):
            share = torch.softmax(z @ other.T / 0.2, dim=1).log()
            anchors = [i for i, is_rich in enumerate(rich) if is_rich]
            plrc, by_region = [], {}
            for i in anchors:
                positives = [j for j in anchors if region[j] == region[i]]
                plrc.append(-sum(share[i, j] for j in positives) / len(positives))
                by_region.setdefault(region[i], []).append(-share[i, i])
            rapc = sum(sum(found) / len(found) for found in by_region.values()) / len(by_region)
            losses.append(method.config.alpha * sum(plrc) / len(plrc) + (1 - method.config.alpha) * rapc)
    return sum(losses) / len(losses)


def gradients(loss: Tensor, method: PRC) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(method.parameters())))


@pytest.mark.parametrize("alpha", [0.3, 0.0, 1.0])
@pytest.mark.parametrize("negatives", ["scene", "batch"])
def test_loss_and_gradients_are_the_formula(batch: RegionViewBatch, alpha: float, negatives: str) -> None:
    method = build(alpha=alpha, negatives=negatives)
    scenes = [slice(0, 7), slice(7, 11)] if negatives == "scene" else [slice(0, 11)]
    terms, slow = method(batch, generator=generator()), slow_loss(method, batch, scenes)
    torch.testing.assert_close(terms.loss, slow, rtol=1e-5, atol=1e-5)
    for a, b in zip(gradients(terms.loss, method), gradients(slow, method), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
    together = alpha * terms.losses["plrc"] + (1 - alpha) * terms.losses["rapc"]
    torch.testing.assert_close(terms.loss.detach(), together)
    assert (terms.counts["points"], int(terms.counts["rich_points"]), terms.counts["regions"]) == (11, 8, 4)


def test_options_reach_the_losses(batch: RegionViewBatch) -> None:
    base = build()(batch, generator=generator()).losses
    inside = build(average="inside")(batch, generator=generator()).losses
    assert inside["plrc"] < base["plrc"]
    assert inside["rapc"] == base["rapc"]
    by_point = build(equal_regions=False)(batch, generator=generator()).losses
    assert by_point["plrc"] == base["plrc"]
    assert by_point["rapc"] != base["rapc"]


def test_the_same_view_twice_matches_itself(batch: RegionViewBatch) -> None:
    method = build()
    with torch.no_grad():
        method.student.maps[SCENES:] = method.student.maps[:SCENES]
    same = replace(batch, xy_b=batch.xy_a)
    found = method(same, generator=generator(), diagnose=True).diagnostics
    assert found["match_top1"].item() == 1.0
    assert found["alignment"].item() < 1e-6
    assert found["log_candidates"].item() == pytest.approx(math.log(7))
    assert method(same, generator=generator()).diagnostics == {}
    loss = method(same, generator=generator()).losses["rapc"]
    assert method(batch, generator=generator()).losses["rapc"] > loss
    permuted = build(method.student, pairing="permuted")
    losses = {permuted(same, generator=generator(seed)).losses["rapc"].item() for seed in range(3)}
    assert len(losses) == 3
    assert min(losses) > loss


def test_both_views_of_every_scene_get_a_gradient(batch: RegionViewBatch) -> None:
    method = build()
    method(batch, generator=generator()).loss.backward()
    assert (method.student.maps.grad.abs().sum((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("negatives", ["scene", "batch"])
@pytest.mark.parametrize("case", ["no points", "no regions", "one scene without regions", "one point"])
def test_little_to_compare_is_a_value(batch: RegionViewBatch, case: str, negatives: str) -> None:
    rows = {"no points": [], "one point": [0]}.get(case, list(range(11)))
    mask = batch.region_mask.clone()
    if case == "no regions":
        mask[:] = False
    elif case == "one scene without regions":
        mask[7:] = False
    less = replace(
        batch,
        **{name: getattr(batch, name)[rows] for name in ("xy_a", "xy_b", "batch_idx", "region")},
        region_mask=mask[rows],
        num_points=tuple(batch.batch_idx[rows].tolist().count(scene) for scene in range(SCENES)),
    )
    method = build(negatives=negatives)
    terms = method(less, generator=generator(), diagnose=True)
    terms.loss.backward()
    assert terms.loss.isfinite()
    assert int(terms.num_matches) == int(less.region_mask.sum())
    assert (terms.loss.item() > 0) == (case == "one scene without regions")
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


@pytest.fixture(scope="module")
def streets() -> dict[str, RegionViewBatch]:
    """A street in two views, as the loader hands it to each small backbone."""
    found = {}
    for preset in ("voxelnet_mini", "pillars_mini"):
        chosen = PRESETS[preset]
        voxels = scan_input(
            kind="cartesian",
            voxel_size=chosen.voxel_size,
            point_cloud_range=chosen.point_cloud_range,
            point_features=("x", "y", "z", "intensity"),
            reduce="mean",
            align=1,
            per_point=chosen.encoder == "pillars",
        )
        recipe = SweepInTwoViews(PRCConfig(kind="calico_prc"), voxels)
        found[preset] = recipe.collate([Keyframes(Streets(), [0], recipe, seed=0)[0, 0, 0]])
    return found


@pytest.mark.parametrize("preset", ["voxelnet_mini", "pillars_mini"])
def test_with_a_backbone_every_parameter_learns_and_steps_repeat(
    streets: dict[str, RegionViewBatch], preset: str
) -> None:
    batch = streets[preset]

    def train() -> list[float]:
        torch.manual_seed(0)
        student = build_lidar_bev(preset, 4)
        method = PRC(PRCConfig(kind="calico_prc", temperature=0.2), student)
        optimizer = torch.optim.AdamW(method.parameters(), lr=3e-3)
        losses = []
        for _ in range(3):
            terms = method(batch, generator=generator())
            optimizer.zero_grad()
            terms.loss.backward()
            assert not [
                n for n, p in method.named_parameters() if p.grad is None or not p.grad.abs().max() > 0
            ]
            optimizer.step()
            losses.append(terms.loss.item())
        return losses

    losses = train()
    assert losses[-1] < losses[0] - 0.1
    assert train() == losses


def test_a_gradient_repeats_bit_by_bit_on_two_threads(two_threads: None) -> None:
    draw = torch.Generator().manual_seed(2)
    count = 1500
    batch = replace(
        make_batch(),
        xy_a=torch.rand(2 * count, 2, generator=draw) * 7 - 3.5,
        xy_b=torch.rand(2 * count, 2, generator=draw) * 7 - 3.5,
        batch_idx=torch.arange(2 * count) // count,
        region=torch.randint(0, 40, (2 * count,), generator=draw),
        region_mask=torch.rand(2 * count, generator=draw) < 0.5,
        num_points=(count, count),
    )
    method = build()

    def step() -> Tensor:
        return torch.cat([g.flatten() for g in gradients(method(batch, generator=generator()).loss, method)])

    first, *others = (step() for _ in range(3))
    assert all(torch.equal(first, other) for other in others)


def test_errors() -> None:
    with pytest.raises(ValueError, match="alpha"):
        build(alpha=1.5)
