"""SLidR-family files: the same features as a sparse convolution by hand in MinkowskiEngine's convention.

Names and shapes cannot tell a wrong order of the kernel's cells, so the features are compared.
"""

from __future__ import annotations

import re
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lidardistill.backbones.minkunet.config import MinkUNetConfig
from lidardistill.data.config import VoxelConfig
from lidardistill.exchange.of_run import load_student
from lidardistill.exchange.slidr import from_slidr, to_slidr
from tests.support.backbones import lidar_bev

STEM, PLANES, LAYERS = 16, (16, 32, 64, 64, 64, 32, 32, 32), (1,) * 8
"""Of the preset `mini`."""
LEVEL = {"conv1p1s2": 1, "conv2p2s2": 2, "conv3p4s2": 4, "conv4p8s2": 8}


def published(seed: int = 0) -> dict[str, Tensor]:
    """A Res16UNet's state dict as MinkowskiEngine names and shapes it, float64, with statistics that do
    something.
    """
    draw = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def conv(name: str, cells: int, width_in: int, width_out: int) -> None:
        shape = (width_in, width_out) if cells == 1 else (cells, width_in, width_out)
        state[f"{name}.kernel"] = (
            torch.randn(shape, generator=draw, dtype=torch.float64) / (cells * width_in) ** 0.5
        )

    def norm(name: str, width: int) -> None:
        for part in ("weight", "bias", "running_mean"):
            state[f"{name}.bn.{part}"] = torch.randn(width, generator=draw, dtype=torch.float64)
        state[f"{name}.bn.running_var"] = torch.rand(width, generator=draw, dtype=torch.float64) + 0.5
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(7)

    def level(number: int, width_in: int) -> int:
        width = PLANES[number - 1]
        for block in range(LAYERS[number - 1]):
            name = f"block{number}.{block}"
            conv(f"{name}.conv1", 27, width_in, width)
            norm(f"{name}.norm1", width)
            conv(f"{name}.conv2", 27, width, width)
            norm(f"{name}.norm2", width)
            if width_in != width:
                conv(f"{name}.downsample.0", 1, width_in, width)
                norm(f"{name}.downsample.1", width)
            width_in = width
        return width

    conv("conv0p1s1", 27, 1, STEM)
    norm("bn0", STEM)
    width = STEM
    for number, name in enumerate(LEVEL, start=1):
        conv(name, 8, width, width)
        norm(f"bn{number}", width)
        width = level(number, width)
    for number, (name, skip) in enumerate(
        zip(
            ("convtr4p16s2", "convtr5p8s2", "convtr6p4s2", "convtr7p2s2"),
            (PLANES[2], PLANES[1], PLANES[0], STEM),
            strict=True,
        ),
        start=4,
    ):
        conv(name, 8, width, PLANES[number])
        norm(f"bntr{number}", PLANES[number])
        width = level(number + 1, PLANES[number] + skip)
    conv("final", 1, width, 64)
    state["final.bias"] = torch.zeros(1, 64, dtype=torch.float64)
    return state


Cell = tuple[int, int, int]


class ByHand:
    """Res16UNet over cells (rho, phi, z), one kernel cell and one voxel after the other.

    Kernel cell number i is the i-th offset with rho running fastest, then phi, then z; an output reads the
    input at its own coordinates plus the offset, and a transposed convolution takes the strided one's pairs
    the other way round.
    """

    def __init__(self, state: dict[str, Tensor], cells: list[Cell]) -> None:
        self.state = state
        self.cells = {1: cells}
        for stride in (2, 4, 8, 16):
            coarse = {tuple(c // stride * stride for c in cell) for cell in cells}
            self.cells[stride] = sorted(coarse)  # type: ignore[arg-type]

    def conv(self, name: str, x: Tensor, fine: int, coarse: int, *, up: bool = False) -> Tensor:
        kernel = self.state[f"{name}.kernel"]
        if kernel.ndim == 2:
            return x @ kernel
        reach = (-1, 0, 1) if len(kernel) == 27 else (0, 1)
        place = {cell: row for row, cell in enumerate(self.cells[fine])}
        out = x.new_zeros(len(self.cells[fine if up else coarse]), kernel.shape[2])
        for number, (dz, dphi, drho) in enumerate(product(reach, repeat=3)):  # the last one runs fastest
            for row, (rho, phi, z) in enumerate(self.cells[coarse]):
                other = place.get((rho + drho * fine, phi + dphi * fine, z + dz * fine))
                if other is not None:
                    target, source = (other, row) if up else (row, other)
                    out[target] += x[source] @ kernel[number]
        return out

    def norm(self, name: str, x: Tensor) -> Tensor:
        mean, var, weight, bias = (
            self.state[f"{name}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def level(self, number: int, x: Tensor, stride: int) -> Tensor:
        for block in range(LAYERS[number - 1]):
            name = f"block{number}.{block}"
            y = F.relu(self.norm(f"{name}.norm1", self.conv(f"{name}.conv1", x, stride, stride)))
            y = self.norm(f"{name}.norm2", self.conv(f"{name}.conv2", y, stride, stride))
            if f"{name}.downsample.0.kernel" in self.state:
                x = self.norm(f"{name}.downsample.1", self.conv(f"{name}.downsample.0", x, stride, stride))
            x = F.relu(y + x)
        return x

    def __call__(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm("bn0", self.conv("conv0p1s1", x, 1, 1)))
        skips = []
        for number, (name, stride) in enumerate(LEVEL.items(), start=1):
            skips.append(x)
            x = F.relu(self.norm(f"bn{number}", self.conv(name, x, stride, 2 * stride)))
            x = self.level(number, x, 2 * stride)
        for number, stride in enumerate((8, 4, 2, 1), start=4):
            x = self.conv(f"convtr{number}p{2 * stride}s2", x, stride, 2 * stride, up=True)
            x = F.relu(self.norm(f"bntr{number}", x))
            x = self.level(number + 1, torch.cat([x, skips.pop()], 1), stride)
        return x


@pytest.fixture(scope="module")
def scan() -> tuple[Tensor, Tensor]:
    """(M, 4) int32 batch, z, phi, rho of a small cloud, and (M, 1) float64 intensities."""
    draw = torch.Generator().manual_seed(1)
    coords = torch.stack([torch.randint(0, n, (160,), generator=draw) for n in (6, 18, 20)], 1).unique(dim=0)
    features = torch.rand(len(coords), 1, generator=draw, dtype=torch.float64)
    return F.pad(coords, (1, 0)).int(), features


@pytest.fixture(scope="module")
def expected(scan: tuple[Tensor, Tensor]) -> Tensor:
    coords, features = scan
    cells = [(int(rho), int(phi), int(z)) for _, z, phi, rho in coords.tolist()]
    return ByHand(published(), cells)(features)


def features_of(path, scan: tuple[Tensor, Tensor]) -> Tensor:  # type: ignore[no-untyped-def]
    net = MinkUNetConfig(preset="mini").build(VoxelConfig()).double().eval()
    load_student(net, str(path), VoxelConfig())
    with torch.no_grad():
        return net.convolve(scan[1], scan[0], (16, 32, 32), 1)


def turned(state: dict[str, Tensor], how: str) -> dict[str, Tensor]:
    """The same kernels with their cells in another order."""
    found = dict(state)
    for key, value in state.items():
        if key.endswith(".kernel") and value.ndim == 3:
            side = round(len(value) ** (1 / 3))
            cube = value.view(side, side, side, *value.shape[1:])
            cube = {
                "reversed": cube.flip(0, 1, 2),
                "transposed": cube.transpose(0, 2),
                "flipped": cube.flip(0),
            }[how]
            found[key] = cube.reshape(value.shape)
    return found


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in published().items()}


FILES = {
    "save()": {
        "model_points": published(),
        "model_images": {"encoder.conv1.weight": torch.zeros(3)},
        "epoch": 50,
        "config": {"voxel_size": 0.1, "cylindrical_coordinates": True},
    },
    "Lightning, pretraining": {"state_dict": prefixed("model_points."), "global_step": 3},
    "Lightning, downstream": {"state_dict": prefixed("model.")},
    "several GPUs": {"model_points": prefixed("module.")},
    "module in front": {"state_dict": prefixed("module.model_points.")},
    "bare": published(),
}


@pytest.mark.parametrize("kind", FILES)
def test_published_files_give_the_features_of_a_convolution_by_hand(kind, tmp_path, scan, expected) -> None:
    torch.save(FILES[kind], tmp_path / "slidr.pt")
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(features_of(tmp_path / "slidr.pt", scan), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("how", ["reversed", "transposed", "flipped"])
def test_a_wrong_order_of_the_cells_gives_other_features(how, tmp_path, scan, expected) -> None:
    torch.save({"model_points": turned(published(), how)}, tmp_path / "slidr.pt")
    assert (features_of(tmp_path / "slidr.pt", scan) - expected).abs().max() > 1e-2


def test_the_way_back_is_exact() -> None:
    theirs = published()
    again = to_slidr(from_slidr(theirs))
    assert set(theirs) - set(again) == {"final.kernel", "final.bias"}
    assert all(torch.equal(value, theirs[key]) for key, value in again.items())


def test_every_tensor_of_the_published_network_has_a_place() -> None:
    """Res16UNet34C has 374 tensors, the two of the head included."""
    net = MinkUNetConfig(preset="minkunet34").build(VoxelConfig())
    theirs = to_slidr(net.state_dict())
    assert len(theirs) == 372
    assert theirs["block6.0.downsample.0.kernel"].shape == (192, 128)
    assert theirs["convtr5p8s2.kernel"].shape == (8, 256, 128)
    net.load_state_dict(from_slidr(theirs))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"kind": "cartesian"},
            "trained with voxels.kind cylindrical, and this run has cartesian: set voxels.kind=cylindrical",
        ),
        ({"voxel_size": (0.05, 1.0, 0.05)}, r"voxels\.voxel_size \[0\.1, 1\.0, 0\.1\]"),
        ({"intensity_scale": 1 / 255}, r"set voxels\.intensity_scale=1\.0"),
        ({"point_features": ("x",)}, r"voxels\.point_features \['intensity'\]"),
    ],
)
def test_other_voxels_are_refused(change, message, tmp_path) -> None:
    torch.save({"model_points": published()}, tmp_path / "slidr.pt")
    net = MinkUNetConfig(preset="mini").build(VoxelConfig())
    with pytest.raises(ValueError, match=message):
        load_student(net, str(tmp_path / "slidr.pt"), VoxelConfig(**change))


def test_the_files_own_voxels_count(tmp_path) -> None:
    config = {"voxel_size": 0.05, "cylindrical_coordinates": False}
    torch.save({"model_points": published(), "config": config}, tmp_path / "slidr.pt")
    net = MinkUNetConfig(preset="mini").build(VoxelConfig())
    load_student(
        net, str(tmp_path / "slidr.pt"), VoxelConfig(kind="cartesian", voxel_size=(0.05, 0.05, 0.05))
    )
    with pytest.raises(ValueError, match=r"trained with voxels\.kind cartesian"):
        load_student(net, str(tmp_path / "slidr.pt"), VoxelConfig())


def test_what_does_not_fit_is_named(tmp_path) -> None:
    path = tmp_path / "slidr.pt"
    torch.save({"model_points": published()}, path)
    voxelnet = lidar_bev("voxelnet_mini")
    with pytest.raises(
        ValueError, match=r"holds the weights of a MinkUNet .*this run has a LidarBev"
    ) as caught:
        load_student(voxelnet, str(path))
    assert "card" not in str(caught.value)
    with pytest.raises(ValueError, match="does not fit MinkUNet"):
        load_student(MinkUNetConfig(preset="minkunet14").build(VoxelConfig()), str(path))
    torch.save({"model_points": published() | {"block9.0.conv1.kernel": torch.zeros(27, 2, 2)}}, path)
    with pytest.raises(ValueError, match=re.escape("block9.0.conv1.kernel has no counterpart")):
        load_student(MinkUNetConfig(preset="mini").build(VoxelConfig()), str(path))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"layer1.0.conv1.weight": torch.zeros(1), "conv1.weight": torch.zeros(1)},
            "image network, ResNet.*teacher",
        ),
        (
            {"net.foo": torch.zeros(1)},
            r"net\.foo.*lidardistill: stem\.conv\.weight; SLidR, PPKT, ST-SLidR, Seal.*OpenPCDet",
        ),
    ],
)
def test_unknown_files_are_told_what_can_be_read(state, message, tmp_path) -> None:
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=message) as caught:
        load_student(MinkUNetConfig(preset="mini").build(VoxelConfig()), str(tmp_path / "x.pt"))
    assert "card" not in str(caught.value)
