"""BEVContrast's step against the published formulas with torch's own warp."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lidardistill.backbones.base import Backbone, Features, MapFeatures
from lidardistill.backbones.lidar_bev.net import PRESETS, build_lidar_bev
from lidardistill.data.batch import VoxelBatch
from lidardistill.data.keyframes import Keyframes
from lidardistill.datasets.nuscenes.source import NuScenesIndex
from lidardistill.methods.bevcontrast.config import BEVContrastConfig
from lidardistill.methods.bevcontrast.method import BEVContrast, centred
from lidardistill.methods.bevcontrast.sample import ScanPairBatch, ScanPairs
from lidardistill.ops.bev_grid import BevGrid
from lidardistill.ops.bev_scatter import bev_scatter
from tests.support.inputs import scan_input

PAIRS, SIZE = 2, 12
GRID = BevGrid.of_range((-6.0, -6.0, 6.0, 6.0), 1.0)


class Student(Backbone):
    """A linear map of voxel features: enough to carry gradients."""

    out_channels = 8

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 8)

    def forward(self, scans: VoxelBatch) -> Features:
        return Features(self.linear(scans.features), scans.point2voxel, scans.point_mask)


def turns() -> Tensor:
    """(PAIRS, 3, 3) float64 b2a."""
    found = []
    for yaw, x, y in ((0.6, 1.3, -0.4), (-2.0, 0.2, 2.1)):
        c, s = math.cos(yaw), math.sin(yaw)
        found.append([[c, -s, x], [s, c, y], [0, 0, 1]])
    return torch.tensor(found, dtype=torch.float64)


def make_batch(voxels: int = 400, seed: int = 1) -> ScanPairBatch:
    draw = torch.Generator().manual_seed(seed)
    coords = torch.zeros(voxels, 4, dtype=torch.int32)
    coords[:, 0] = torch.arange(voxels) * 2 * PAIRS // voxels
    return ScanPairBatch(
        sample_tokens=("a", "b"),
        voxels=VoxelBatch(
            features=torch.randn(voxels, 2, generator=draw),
            voxel_coords=coords,
            spatial_shape=(16, 16, 16),
            point2voxel=torch.arange(voxels),
            point_mask=torch.ones(voxels, dtype=torch.bool),
            batch_size=2 * PAIRS,
        ),
        voxel_xy=torch.rand(voxels, 2, generator=draw) * 14 - 7,
        b2a=turns(),
        num_voxels_a=int((coords[:, 0] < PAIRS).sum()),
        num_points_a=int((coords[:, 0] < PAIRS).sum()),
    )


@pytest.fixture
def batch() -> ScanPairBatch:
    return make_batch()


def build(**options: object) -> BEVContrast:
    torch.manual_seed(0)
    return BEVContrast(config(**options), Student())


def config(**options: object) -> BEVContrastConfig:
    """A map of 12 x 12 cells of a metre around the sensor."""
    chosen = {
        "kind": "bevcontrast",
        "bev_range": (-6.0, -6.0, 6.0, 6.0),
        "cell_size": 1.0,
        "embedding": 4,
        **options,
    }
    return BEVContrastConfig(**chosen)  # type: ignore[arg-type]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def published_loss(method: BEVContrast, batch: ScanPairBatch, low: float = -6.0) -> Tensor:
    """Maps by one-hot products, torch's warp, cells where both features are not zero.

    Maps begin at `low` metres; like the authors' code, the warp takes them to be centred.
    """
    rows = method.student_head.linear(method.student.linear(batch.voxels.features))
    column, row = ((batch.voxel_xy - low).floor().long()).unbind(1)
    kept = (column >= 0) & (column < SIZE) & (row >= 0) & (row < SIZE)
    cell = batch.voxels.voxel_coords[:, 0].long() * SIZE**2 + row * SIZE + column
    one_hot = torch.zeros(2 * PAIRS * SIZE**2, len(rows))
    one_hot[cell[kept], torch.arange(len(rows))[kept]] = 1
    maps = (one_hot @ rows) / one_hot.sum(1, keepdim=True).clamp(min=1)
    maps = maps.view(2 * PAIRS, SIZE, SIZE, -1).permute(0, 3, 1, 2)
    a, b = maps[:PAIRS], maps[PAIRS:]
    # The authors' matrix: R and t take a to b, and lengths are in half widths of the map.
    a2b = torch.linalg.inv(batch.b2a)
    turn, shift = a2b[:, :2, :2].mT, a2b[:, :2, 2:]
    theta = torch.cat([turn, -turn @ shift / 6.0], dim=2).float()
    flow = F.affine_grid(theta, list(a.shape), align_corners=False)
    warped = F.grid_sample(a, flow, mode="bilinear", padding_mode="zeros", align_corners=False)
    both = (warped != 0).any(1) & (b != 0).any(1)
    k = F.normalize(warped.permute(0, 2, 3, 1)[both], dim=1)
    q = F.normalize(b.permute(0, 2, 3, 1)[both], dim=1)
    return F.cross_entropy(k @ q.T / 0.07, torch.arange(len(k)))


def gradients(loss: Tensor, method: BEVContrast) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(method.parameters())))


def test_loss_and_gradients_are_the_published_ones(batch: ScanPairBatch) -> None:
    method = build()
    ours = method(batch, generator=generator())
    theirs = published_loss(method, batch)
    assert ours.counts["cells"] > 50
    torch.testing.assert_close(ours.loss, theirs, rtol=1e-5, atol=1e-5)
    for a, b in zip(gradients(ours.loss, method), gradients(theirs, method), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_warped_map_asks_and_the_other_map_answers(batch: ScanPairBatch) -> None:
    method = build()
    bev, occupied = method.bev_maps(batch)
    a, b = (F.normalize(rows, dim=1) for rows in method.matched_cells(bev, occupied, batch.b2a))
    target = torch.arange(len(a))
    loss = method(batch, generator=generator()).loss
    torch.testing.assert_close(loss, F.cross_entropy(a @ b.T / 0.07, target))
    assert not torch.isclose(loss, F.cross_entropy(b @ a.T / 0.07, target), rtol=1e-4)


def test_of_many_cells_some_are_drawn_with_the_generator(batch: ScanPairBatch) -> None:
    method = build(max_cells=40)
    terms = method(batch, generator=generator())
    assert terms.counts["cells"] == 40
    assert terms.counts["matched_cells"] == build()(batch, generator=generator()).counts["cells"] > 40
    losses = [method(batch, generator=generator(seed)).loss.item() for seed in (0, 1, 2, 0)]
    assert len(set(losses)) == 3
    assert losses[0] == losses[3]


def same_place() -> ScanPairBatch:
    """Scan b is scan a in another frame, a quarter turn away, which maps cells to cells."""
    batch = make_batch()
    half = len(batch.voxel_xy) // 2
    b2a = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64).repeat(PAIRS, 1, 1)
    xy_a = batch.voxel_xy[:half]
    xy_b = torch.stack([xy_a[:, 1], -xy_a[:, 0]], dim=1)
    features = batch.voxels.features[:half].repeat(2, 1)
    return replace(
        batch,
        voxels=replace(batch.voxels, features=features),
        voxel_xy=torch.cat([xy_a, xy_b]),
        b2a=b2a,
    )


def test_the_same_place_matches_itself() -> None:
    same = same_place()
    found = build()(same, generator=generator(), diagnose=True).diagnostics
    assert found["match_top1"].item() == 1.0
    assert found["alignment"].item() < 1e-6
    wrong = build()(replace(same, b2a=same.b2a.mT), generator=generator(), diagnose=True).diagnostics
    assert wrong["match_top1"].item() < 0.2


def test_both_scans_get_a_gradient(batch: ScanPairBatch) -> None:
    features = batch.voxels.features.clone().requires_grad_()
    method = build()
    method(
        replace(batch, voxels=replace(batch.voxels, features=features)), generator=generator()
    ).loss.backward()
    scan = batch.voxels.voxel_coords[:, 0]
    assert all(features.grad[scan == number].abs().sum() > 0 for number in range(2 * PAIRS))


def test_the_permuted_control_draws_partners() -> None:
    batch = same_place()
    real, permuted = build()(batch, generator=generator()), build(pairing="permuted")
    losses = {permuted(batch, generator=generator(seed)).loss.item() for seed in range(3)}
    assert len(losses) == 3
    assert min(losses) > real.loss.item()


@pytest.mark.parametrize("shift", [1e4, None])
def test_no_common_cell_is_a_zero_with_gradient(batch: ScanPairBatch, shift: float | None) -> None:
    method = build()
    if shift is None:  # no voxel lies on the map at all
        batch = replace(batch, voxel_xy=batch.voxel_xy + 100)
    else:
        far = batch.b2a.clone()
        far[:, 0, 2] = shift
        batch = replace(batch, b2a=far)
    terms = method(batch, generator=generator(), diagnose=True)
    terms.loss.backward()
    assert terms.loss.item() == 0.0
    assert terms.counts["cells"] == 0
    assert all(p.grad is not None and torch.all(p.grad == 0) for p in method.parameters())


def test_a_gradient_repeats_bit_by_bit_on_two_threads(two_threads: None) -> None:
    batch, method = make_batch(40_000), build()

    def step() -> Tensor:
        return torch.cat([g.flatten() for g in gradients(method(batch, generator=generator()).loss, method)])

    first, *others = (step() for _ in range(4))
    assert all(torch.equal(first, other) for other in others)


def test_diagnostics_come_when_asked_for(batch: ScanPairBatch) -> None:
    method = build()
    terms = method(batch, generator=generator(), diagnose=True)
    assert method(batch, generator=generator()).diagnostics == {}
    assert terms.diagnostics["log_candidates"].item() == pytest.approx(math.log(terms.counts["cells"]))


class MapStudent(Backbone):
    """Makes maps of the mean of `Student`'s features in each cell; empty cells hold what no one may look
    at."""

    out_channels = 8

    def __init__(self, batch: ScanPairBatch) -> None:
        super().__init__()
        self.linear = Student().linear
        self.xy = batch.voxel_xy
        self.grid = GRID

    def forward(self, scans: VoxelBatch) -> MapFeatures:
        scan = scans.voxel_coords[:, 0].long()
        bev, occupied = bev_scatter(self.linear(scans.features), self.xy, scan, GRID, scans.batch_size)
        return MapFeatures(torch.where(occupied[:, None], bev, 1e3), GRID, scans, (GRID.height, GRID.width))


def test_a_student_of_maps_is_one_of_voxels_where_they_coincide(batch: ScanPairBatch) -> None:
    """Projected and averaged, or averaged and projected: the same cells, loss and gradients."""
    voxels = build()
    torch.manual_seed(0)
    maps = BEVContrast(config(), MapStudent(batch))
    with torch.no_grad():
        maps.student.linear.load_state_dict(voxels.student.linear.state_dict())
        maps.student_head.conv.weight.copy_(voxels.student_head.linear.weight[:, :, None, None])
        maps.student_head.conv.bias.copy_(voxels.student_head.linear.bias)
    (bev, occupied), (bev_v, occupied_v) = maps.bev_maps(batch), voxels.bev_maps(batch)
    assert torch.equal(occupied, occupied_v)
    torch.testing.assert_close(torch.where(occupied[:, None], bev, 0.0), bev_v, rtol=1e-4, atol=1e-5)
    ours, theirs = maps(batch, generator=generator()), voxels(batch, generator=generator())
    assert ours.counts == theirs.counts
    torch.testing.assert_close(ours.loss, theirs.loss, rtol=1e-4, atol=1e-5)
    for a, b in zip(gradients(ours.loss, maps), gradients(theirs.loss, voxels), strict=True):
        torch.testing.assert_close(a.reshape(b.shape), b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("preset", ["voxelnet_mini", "pillars_mini"])
def test_a_backbone_of_maps_learns_from_scans(tiny_world: Path, preset: str) -> None:
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
    recipe = ScanPairs(config(stride=1), voxels)
    data = Keyframes(NuScenesIndex.open(tiny_world, "v1.0-mini"), [0, 2], recipe, seed=0)
    batch = recipe.collate([data[0, 0, 0], data[0, 1, 1]])
    torch.manual_seed(0)
    student = build_lidar_bev(preset, 4)
    method = BEVContrast(config(embedding=16), student)
    # A voxel lies in the cell that its coordinates have at the map's stride.
    stride = round(student.grid.cell_size / chosen.voxel_size[0])
    coords = batch.voxels.voxel_coords.long()
    expected = torch.zeros(4, *student.bev_shape, dtype=torch.bool)
    expected[coords[:, 0], coords[:, 2] // stride, coords[:, 3] // stride] = True
    assert torch.equal(method.bev_maps(batch)[1], expected)
    optimizer = torch.optim.AdamW(method.parameters(), lr=3e-3)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        terms = method(batch, generator=generator(), diagnose=True)
        terms.loss.backward()
        assert not [n for n, p in method.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
        optimizer.step()
        losses.append(terms.loss.item())
    assert losses[2] < losses[0]
    assert terms.counts["cells"] > 50


def test_half_precision_maps_are_compared_in_float32(batch: ScanPairBatch) -> None:
    maps = BEVContrast(config(), MapStudent(batch))
    with torch.autocast("cpu", torch.bfloat16):
        assert maps.bev_maps(batch)[0].dtype == torch.float32


def test_the_authors_warp_takes_the_maps_to_be_centred(batch: ScanPairBatch) -> None:
    """Their maps begin at -51.25 m and end at 50.75 m; here at -6.25 m and 5.75 m."""
    shifted = {"bev_range": (-6.25, -6.25, 5.75, 5.75)}
    authors, corrected = build(warp="authors", **shifted), build(**shifted)
    theirs = published_loss(authors, batch, low=-6.25)
    torch.testing.assert_close(authors(batch, generator=generator()).loss, theirs, rtol=1e-5, atol=1e-5)
    assert not torch.isclose(corrected(batch, generator=generator()).loss, theirs, rtol=1e-4)


def test_positives_of_the_authors_warp_are_half_a_metre_apart() -> None:
    """parity: 0.45 m on the mean, since the shift of 0.25 m in x and y turns with the two random
    rotations."""
    grid = BevGrid.of_range((-51.25, -51.25, 50.75, 50.75), 0.6)
    draw = torch.Generator().manual_seed(0)
    angle = torch.rand(4000, generator=draw, dtype=torch.float64) * 2 * math.pi
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    off = torch.tensor([grid.x_min - centred(grid).x_min, grid.y_min - centred(grid).y_min]).double()
    apart = (off - turn @ off).norm(dim=1)
    assert off.tolist() == pytest.approx([-0.25, -0.25])
    assert apart.mean().item() == pytest.approx(0.45, abs=0.01)


class Normalising(Student):
    """Counts its calls and normalises over the voxels of each."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.calls = nn.BatchNorm1d(8), 0

    def forward(self, scans: VoxelBatch) -> Features:
        self.calls += 1
        return Features(self.norm(self.linear(scans.features)), scans.point2voxel, scans.point_mask)


def test_separate_batchnorm_calls_the_backbone_for_each_scan_of_a_pair(batch: ScanPairBatch) -> None:
    torch.manual_seed(0)
    method = BEVContrast(config(batchnorm="separate"), Normalising())
    bev, occupied = method.bev_maps(batch)
    assert method.student.calls == 2
    a, b = batch.halves()
    assert a.batch_size == b.batch_size == PAIRS
    for half, maps, seen in zip((a, b), bev.chunk(2), occupied.chunk(2), strict=True):
        rows = method.student_head(method.student(half).rows)
        first = 0 if half is a else batch.num_voxels_a
        xy = batch.voxel_xy[first : first + len(rows)]
        expected, filled = bev_scatter(rows, xy, half.voxel_coords[:, 0].long(), GRID, PAIRS)
        assert torch.equal(seen, filled)
        torch.testing.assert_close(maps, expected)
    joint = BEVContrast(config(), Normalising())
    joint.bev_maps(batch)
    assert joint.student.calls == 1
