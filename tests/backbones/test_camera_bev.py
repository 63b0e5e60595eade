"""Cameras to a map: what is seen where comes to lie there."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lidardistill.backbones.camera_bev.config import CameraBevConfig, CameraBevLayers
from lidardistill.backbones.camera_bev.net import CameraBev
from tests.support.backbones import lidar_bev

SMALL = CameraBevConfig(
    preset="mini", context_channels=4, depth_range=(1.0, 13.0), depth_step=2.0,
    bev_range=(-12.8, -12.8, 12.8, 12.8),
    cell_size=0.8,
)  # fmt: skip
SMALL_LAYERS = CameraBevLayers("efficientnet_lite0", 8, (8, 8), (1, 1), (2, 2), (4, 4), (1, 2))
SIZE = (64, 96)
FOCAL = 60.0


def camera(yaw: float, size: tuple[int, int] = SIZE) -> Tensor:
    """(4, 4) float64 lidar2img of a level camera at (0.3, -0.2, 0.1) that looks along `yaw`."""
    forward = [math.cos(yaw), math.sin(yaw), 0.0]
    right = [math.sin(yaw), -math.cos(yaw), 0.0]
    lidar2cam = torch.eye(4, dtype=torch.float64)
    lidar2cam[:3, :3] = torch.tensor([right, [0.0, 0.0, -1.0], forward], dtype=torch.float64)
    lidar2cam[:3, 3] = -lidar2cam[:3, :3] @ torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    cam2img = torch.diag(torch.tensor([FOCAL, FOCAL, 1.0, 1.0], dtype=torch.float64))
    cam2img[0, 2], cam2img[1, 2] = (size[1] - 1) / 2, (size[0] - 1) / 2
    return cam2img @ lidar2cam


VIEWS = torch.stack([camera(0.2), camera(2.0), camera(-1.2)])
SAMPLE = torch.tensor([0, 0, 1])


@pytest.fixture
def network() -> CameraBev:
    torch.manual_seed(0)
    return CameraBev(SMALL, SMALL_LAYERS)


def pictures(views: int = 3) -> Tensor:
    return torch.rand(views, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def test_a_pixel_of_known_depth_lands_in_the_cell_of_its_point(network: CameraBev) -> None:
    """Row 5, column 9 of the map is the pixel (row 43, column 75) with this network's padding: 3 + 8 * 5 is
    the row."""
    row, column, bin_number, yaw = 5, 9, 4, 0.2
    v, u = (
        px.tolist()[index]
        for px, index in zip(network.encoder.cell_px(SIZE, (8, 12)), (row, column), strict=True)
    )
    depth = 1.0 + 2.0 * (bin_number + 0.5)
    ahead, left = depth, -(u - 47.5) / FOCAL * depth
    x = 0.3 + ahead * math.cos(yaw) - left * math.sin(yaw)
    y = -0.2 + ahead * math.sin(yaw) + left * math.cos(yaw)
    assert -5 < 0.1 - (v - 31.5) / FOCAL * depth < 3

    class OneCell(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            features = torch.zeros(len(images), 8, 8, 12)
            features[:, 0, row, column] = 1.0
            return features

    one = OneCell()
    one.cell_px = network.encoder.cell_px  # type: ignore[assignment]
    network.encoder = one  # type: ignore[assignment]
    with torch.no_grad():
        network.depth_net.weight.zero_()
        network.depth_net.bias.zero_()
        network.depth_net.bias[bin_number] = 50.0  # every pixel is sure of its depth
        network.depth_net.weight[6:, 0] = 7.0  # and one shows something
        splat = network.splat(pictures(1), VIEWS[:1], SAMPLE[:1], 1)[0, 0]
    expected = (math.floor((y + 12.8) / 0.8), math.floor((x + 12.8) / 0.8))
    assert [tuple(found) for found in (splat > 1e-6).nonzero().tolist()] == [expected]
    assert splat[expected].item() == pytest.approx(7.0)


def test_it_is_the_outer_product_of_lift_splat_shoot(
    network: CameraBev, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole network by the slow way, in value and in the gradient of every weight."""
    from lidardistill.backbones.camera_bev import net as camera_bev
    from lidardistill.ops.lift_splat import lift_splat

    network.double()
    weights = [p for p in network.parameters() if p.requires_grad]

    def run() -> list[Tensor]:
        bev, _ = network(pictures().double(), VIEWS, SAMPLE, 2)
        return [bev.detach(), *torch.autograd.grad(bev.square().sum(), weights)]

    fast = run()
    monkeypatch.setattr(camera_bev, "lift_splat", lambda *a: lift_splat(*a, implementation="outer"))
    for ours, theirs in zip(fast, run(), strict=True):
        # The softmax over depths is taken in float32 on both sides.
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * max(1.0, theirs.abs().max().item()))


def test_samples_keep_to_themselves(network: CameraBev) -> None:
    network.eval()
    images = pictures()
    both, seen = network(images, VIEWS, SAMPLE, 2)
    alone, seen_alone = network(images[2:], VIEWS[2:], torch.zeros(1, dtype=torch.int64), 1)
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-5)
    assert torch.equal(seen[1:], seen_alone)


def test_a_masked_view_reaches_neither_map_nor_gradient(network: CameraBev) -> None:
    network.eval()
    images, views = pictures(), VIEWS.clone()
    images[1], views[1] = math.nan, math.nan
    mask = torch.tensor([True, False, True])
    bev, seen = network(images, views, SAMPLE, 2, mask)
    kept = torch.tensor([0, 2])
    expected, seen_expected = network(images[kept], views[kept], SAMPLE[kept], 2)
    torch.testing.assert_close(bev, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(seen, seen_expected)
    bev.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_no_camera_left_is_an_empty_map(network: CameraBev) -> None:
    splat = network.splat(torch.zeros(3, 3, *SIZE), VIEWS, SAMPLE, 2, torch.zeros(3, dtype=torch.bool))
    assert not splat.any()


def test_cells_are_seen_where_a_camera_looks(network: CameraBev) -> None:
    _, seen = network(pictures(1), VIEWS[:1], SAMPLE[:1], 1)
    grid = network.grid
    angles = []
    for cell in seen[0].flatten().nonzero()[:, 0]:
        x, y = grid.centres(cell).tolist()
        ahead = (x - 0.3) * math.cos(0.2) + (y + 0.2) * math.sin(0.2)
        left = -(x - 0.3) * math.sin(0.2) + (y + 0.2) * math.cos(0.2)
        assert 1.0 <= ahead <= 13.0
        angles.append(abs(left / ahead))
    assert max(angles) < 48 / FOCAL
    assert max(angles) > 40 / FOCAL
    # Every cell of the wedge is there: no hole between pixels.
    assert len(angles) == sum(
        1.0 <= (x - 0.3) * math.cos(0.2) + (y + 0.2) * math.sin(0.2) <= 13.0
        and -47.5 - 0.5
        <= FOCAL
        * ((x - 0.3) * math.sin(0.2) - (y + 0.2) * math.cos(0.2))
        / ((x - 0.3) * math.cos(0.2) + (y + 0.2) * math.sin(0.2))
        < 48
        for x, y in grid.centres(torch.arange(grid.num_cells)).tolist()
    )


def test_a_gradient_repeats_bit_by_bit_on_two_threads(network: CameraBev) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)

    def step() -> Tensor:
        network.zero_grad()
        network(pictures(), VIEWS, SAMPLE, 2)[0].square().mean().backward()
        return torch.cat([p.grad.flatten() for p in network.parameters()])

    try:
        first, *others = (step() for _ in range(3))
    finally:
        torch.set_num_threads(before)
    assert first.abs().sum() > 0
    assert all(torch.equal(first, other) for other in others)


def test_the_presets_lie_on_the_grids_of_the_lidar_presets() -> None:
    mini = CameraBevConfig(preset="mini").build()
    lidar = lidar_bev("pillars_mini", 4)
    assert (mini.grid, mini.out_channels) == (lidar.grid, 64)
    bev, seen = mini(torch.rand(1, 3, 64, 96), VIEWS[:1], SAMPLE[:1], 1)
    assert bev.shape == (1, 64, 64, 64)
    assert seen.shape == (1, 64, 64)
    resnet = CameraBevConfig(preset="resnet50").build()
    assert resnet.grid == lidar_bev("pillars02", 5).grid
    assert (len(resnet.depth_m), resnet.encoder.stride) == (118, 8)
    assert CameraBevConfig(preset="swin_t").value("cell_size") == CameraBevConfig(preset="resnet50").value(
        "cell_size"
    )


def test_swin_t_makes_a_map() -> None:
    pytest.importorskip("transformers", reason="needs the extra [teachers]: transformers")
    swin = CameraBevConfig(preset="swin_t").build()
    bev, _ = swin(torch.rand(1, 3, 64, 96), VIEWS[:1], SAMPLE[:1], 1)
    assert bev.shape == (1, 256, 128, 128)
    bev.square().mean().backward()
    (first,) = (
        p for name, p in swin.named_parameters() if name.endswith("patch_embeddings.projection.weight")
    )
    assert first.grad.abs().sum() > 0
    assert all(p.grad is not None for p in swin.parameters() if p.requires_grad)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"depth_range: expected a whole number of 0\.7 m bins"):
        CameraBevConfig(preset="mini", depth_step=0.7).build()
    with pytest.raises(ValueError, match="whole number"):
        CameraBevConfig(preset="mini", cell_size=1.7).build()
