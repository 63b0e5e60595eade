"""Sparse convolutions: forward and every gradient against dense convolution masked to the active sites."""

from __future__ import annotations

import copy
import importlib.util
import itertools

import pytest
import torch
import torch.nn.functional as F

from lidardistill.sparse import gather_matmul
from lidardistill.sparse.sparse import SparseConv3d, SparseInverseConv3d, SubMConv3d, import_spconv, sparse
from tests.support.clouds import from_dense, random_voxels, to_dense

SHAPE, BATCH = (6, 8, 10), 2


@pytest.fixture(params=[1, 2], ids=["1thread", "2threads"])
def threads(request, one_thread):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(params=gather_matmul.IMPLEMENTATIONS)
def implementation(request, monkeypatch):
    """All convolutions of a test run in this way."""
    monkeypatch.setattr(gather_matmul, "ON_CPU", request.param)


def net(dtype=torch.float64, bias=True):
    """Every kind of layer: submanifold, k2 s2, submanifold at the lower level, back; k3 s2 and back."""
    torch.manual_seed(0)
    return torch.nn.ModuleDict(
        {
            "subm": SubMConv3d(3, 5, 3, bias=bias, indice_key="a"),
            "down": SparseConv3d(5, 6, 2, 2, bias=bias, indice_key="d"),
            "low": SubMConv3d(6, 4, 3, bias=bias, indice_key="b"),
            "up": SparseInverseConv3d(4, 5, 2, bias=bias, indice_key="d"),
            "wide": SparseConv3d(5, 4, 3, 2, 1, bias=bias, indice_key="w"),
            "back": SparseInverseConv3d(4, 2, 3, bias=bias, indice_key="w"),
        }
    ).to(dtype)


def run_sparse(layers, features, coords, shape=SHAPE, batch_size=BATCH, check=False):
    x = sparse(features, coords, shape, batch_size, check=check)
    x = layers["low"](layers["down"](layers["subm"](x)))
    x = layers["up"](x)
    x = layers["back"](layers["wide"](x))
    assert x.spatial_shape == tuple(shape)
    assert x.coords.equal(coords)
    return x.features


def run_dense(layers, features, coords):
    """The same in dense tensors; a strided output is active where a dense convolution of the mask is
    positive.
    """

    def kernel(name):
        return layers[name].weight.permute(0, 4, 1, 2, 3)

    def transposed(name):
        return layers[name].weight.permute(4, 0, 1, 2, 3)

    mask = to_dense(torch.ones(len(coords), 1, dtype=features.dtype), coords, SHAPE, BATCH)
    ones = torch.ones(1, 1, 1, 1, 1, dtype=features.dtype)
    half = (F.conv3d(mask, ones.expand(1, 1, 2, 2, 2), stride=2) > 0).to(features.dtype)
    wide = (F.conv3d(mask, ones.expand(1, 1, 3, 3, 3), stride=2, padding=1) > 0).to(features.dtype)
    x = to_dense(features, coords, SHAPE, BATCH)
    x = F.conv3d(x, kernel("subm"), layers["subm"].bias, padding=1) * mask
    x = F.conv3d(x, kernel("down"), layers["down"].bias, stride=2) * half
    x = F.conv3d(x, kernel("low"), layers["low"].bias, padding=1) * half
    x = F.conv_transpose3d(x, transposed("up"), layers["up"].bias, stride=2) * mask
    x = F.conv3d(x, kernel("wide"), layers["wide"].bias, stride=2, padding=1) * wide
    x = F.conv_transpose3d(x, transposed("back"), layers["back"].bias, stride=2, padding=1, output_padding=1)
    return from_dense(x, coords)


@pytest.mark.parametrize("bias", [True, False])
def test_forward_and_all_gradients_equal_dense_convolution(implementation, threads, bias):
    coords = random_voxels(0)
    layers, features = net(bias=bias), torch.randn(len(coords), 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(len(coords), 2, dtype=torch.float64)
    wanted = run_dense(layers, features, coords)
    found = run_sparse(layers, features, coords)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    inputs = [features, *layers.parameters()]
    for ours, dense in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((wanted * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, dense, rtol=1e-10, atol=1e-12)
        assert dense.abs().max() > 0


def test_five_wide_kernel_equals_dense():
    coords = random_voxels(1)
    layer = SubMConv3d(3, 4, 5, indice_key="a").double()
    features = torch.randn(len(coords), 3, dtype=torch.float64)
    dense = F.conv3d(
        to_dense(features, coords, SHAPE, BATCH), layer.weight.permute(0, 4, 1, 2, 3), layer.bias, padding=2
    )
    torch.testing.assert_close(
        layer(sparse(features, coords, SHAPE, BATCH)).features, from_dense(dense, coords)
    )


@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding"),
    [(3, 2, (0, 1, 1)), ((3, 1, 1), (2, 1, 1), 0), ((1, 3, 2), (1, 2, 3), 1)],
)
def test_another_size_along_each_axis_equals_dense(implementation, kernel_size, stride, padding):
    """The last two layers of VoxelNet, and one where no two axes are alike; and the way back."""
    coords = random_voxels(4)
    layer = SparseConv3d(3, 4, kernel_size, stride, padding, indice_key="a").double()
    back = SparseInverseConv3d(4, 2, kernel_size, indice_key="a", bias=False).double()
    features = torch.randn(len(coords), 3, dtype=torch.float64, requires_grad=True)
    found = layer(sparse(features, coords, SHAPE, BATCH))
    dense = F.conv3d(
        to_dense(features, coords, SHAPE, BATCH),
        layer.weight.permute(0, 4, 1, 2, 3),
        layer.bias,
        stride=stride,
        padding=padding,
    )
    assert tuple(dense.shape[2:]) == found.spatial_shape
    wanted = from_dense(dense, found.coords)
    torch.testing.assert_close(found.features, wanted)
    inputs = [features, layer.weight]
    for ours, twin in zip(
        torch.autograd.grad(found.features.square().sum(), inputs),
        torch.autograd.grad(wanted.square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, twin)
    x = layer(sparse(features.detach(), coords, SHAPE, BATCH))
    on_grid = to_dense(x.features, x.coords, x.spatial_shape, BATCH).detach().requires_grad_()
    # A transposed convolution is the gradient of the convolution with the same weights.
    image = torch.zeros(BATCH, 2, *SHAPE, dtype=torch.float64, requires_grad=True)
    forward = F.conv3d(
        image, back.weight.permute(0, 4, 1, 2, 3).transpose(0, 1), stride=stride, padding=padding
    )
    (wanted,) = torch.autograd.grad(forward, image, on_grid)
    torch.testing.assert_close(back(x).features, from_dense(wanted, coords))


def test_sizes_come_one_or_three():
    with pytest.raises(ValueError, match=r"one number or three for z, y, x, got \(3, 1\)"):
        SparseConv3d(1, 1, (3, 1), indice_key="a")


def test_float32_equals_float64(implementation, threads):
    coords = random_voxels(2, 900, (16, 16, 16))
    layers, features = net(), torch.randn(900, 3, dtype=torch.float64)
    exact = run_sparse(layers, features, coords, (16, 16, 16))
    found = run_sparse(layers.float(), features.float(), coords, (16, 16, 16))
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-6)


def test_the_same_bits_every_time(implementation, threads):
    coords = random_voxels(3, 4000, (32, 32, 32))
    features = torch.randn(4000, 3, requires_grad=True)
    layers = net(torch.float32)

    def once():
        out = run_sparse(layers, features, coords, (32, 32, 32))
        return [out, *torch.autograd.grad(out.square().sum(), [features, *layers.parameters()])]

    first = once()
    for _ in range(3):
        for a, b in zip(first, once(), strict=True):
            assert torch.equal(a, b)


def test_no_voxels_forward_and_backward(implementation):
    layers = net(torch.float32)
    features = torch.zeros(0, 3, requires_grad=True)
    out = run_sparse(layers, features, torch.zeros(0, 4, dtype=torch.int32))
    assert out.shape == (0, 2)
    out.sum().backward()
    assert features.grad.shape == (0, 3)
    for parameter in layers.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() == 0


def test_a_scan_without_voxels_inside_a_batch(implementation):
    coords = random_voxels(4, 60, batch_size=1)
    coords[:, 0] = 1
    layers, features = net(), torch.randn(60, 3, dtype=torch.float64)
    torch.testing.assert_close(run_sparse(layers, features, coords), run_dense(layers, features, coords))


def test_rows_follow_the_order_of_the_voxels():
    coords, features = random_voxels(5), torch.randn(120, 3, dtype=torch.float64)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(0))
    layers = net()
    torch.testing.assert_close(
        run_sparse(layers, features[order], coords[order]), run_sparse(layers, features, coords)[order]
    )


def test_bfloat16_autocast():
    coords, layers = random_voxels(6), net(torch.float32)
    features = torch.randn(120, 3, requires_grad=True)
    exact = run_sparse(layers, features, coords)
    with torch.autocast("cpu", torch.bfloat16):
        out = run_sparse(layers, features, coords)
    assert out.dtype == torch.bfloat16
    assert (out - exact).abs().max() < 0.05 * exact.abs().max()
    out.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in layers.parameters())
    assert features.grad.abs().max() > 0


def test_gradient_of_the_features_can_be_left_out(implementation):
    layer = SubMConv3d(3, 4, 3, indice_key="a")
    layer(sparse(torch.randn(120, 3), random_voxels(0), SHAPE, BATCH)).features.sum().backward()
    assert layer.weight.grad.abs().max() > 0
    layer.requires_grad_(False)
    features = torch.randn(120, 3, requires_grad=True)
    layer(sparse(features, random_voxels(0), SHAPE, BATCH)).features.sum().backward()
    assert features.grad.abs().max() > 0


@pytest.mark.skipif(importlib.util.find_spec("spconv") is None, reason="spconv is not installed")
def test_the_state_dict_is_spconvs_own():
    """spconv's CPU kernels, right with one thread, give the same numbers from the same state dict."""
    spconv = import_spconv()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours = net(torch.float32)
        theirs = torch.nn.ModuleDict(
            {
                "subm": spconv.SubMConv3d(3, 5, 3, indice_key="a"),
                "down": spconv.SparseConv3d(5, 6, 2, 2, indice_key="d"),
                "low": spconv.SubMConv3d(6, 4, 3, indice_key="b"),
                "up": spconv.SparseInverseConv3d(4, 5, 2, indice_key="d"),
                "wide": spconv.SparseConv3d(5, 4, 3, 2, 1, indice_key="w"),
                "back": spconv.SparseInverseConv3d(4, 2, 3, indice_key="w"),
            }
        )
        theirs.load_state_dict(ours.state_dict())
        coords, features = random_voxels(7), torch.randn(120, 3)
        x = spconv.SparseConvTensor(features, coords, list(SHAPE), BATCH)
        with torch.no_grad():
            for name in theirs:
                x = theirs[name](x)
            torch.testing.assert_close(run_sparse(ours, features, coords), x.features, rtol=1e-4, atol=1e-5)
    finally:
        torch.set_num_threads(before)


@pytest.mark.gpu
@pytest.mark.parametrize("autocast", [None, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_cuda_equals_cpu(device, autocast, training):
    coords = random_voxels(8, 900, (16, 16, 16))
    features = torch.randn(900, 3)
    on_cpu = net(torch.float32).train(training)
    on_gpu = copy.deepcopy(on_cpu).to(device)
    results = []
    for layers, where in ((on_cpu, "cpu"), (on_gpu, device)):
        x = features.detach().clone().to(where).requires_grad_()
        with torch.autocast("cuda", autocast or torch.float16, enabled=autocast is not None):
            out = run_sparse(layers, x, coords.to(where), (16, 16, 16))
        out.float().square().sum().backward()
        results.append([out, x.grad, *(p.grad for p in layers.parameters())])
    tolerance = 1e-3 if autocast is None else 3e-2
    for a, b in zip(*results, strict=True):
        assert (a.float() - b.float().cpu()).abs().max() < tolerance * a.abs().max()


@pytest.mark.gpu
def test_cuda_without_voxels(device):
    layers = net(torch.float32).to(device)
    out = run_sparse(
        layers, torch.zeros(0, 3, device=device), torch.zeros(0, 4, dtype=torch.int32, device=device)
    )
    out.sum().backward()
    assert out.shape == (0, 2)


@pytest.mark.parametrize("cell", list(itertools.product([0, 1], [-1, 6])))
def test_check_names_a_voxel_outside_the_grid(cell):
    coords = random_voxels(0)
    coords[5, 1 + cell[0]] = cell[1] if cell[0] == 0 or cell[1] < 0 else 8
    with pytest.raises(ValueError, match="row 5 is"):
        sparse(torch.randn(120, 3), coords, SHAPE, BATCH, check=True)


def test_check_names_a_voxel_given_twice():
    coords = random_voxels(0)
    coords[5] = coords[9]
    with pytest.raises(ValueError, match="more than one row"):
        sparse(torch.randn(120, 3), coords, SHAPE, BATCH, check=True)


def test_check_accepts_what_is_right():
    run_sparse(net(torch.float32), torch.randn(120, 3), random_voxels(0), check=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coords": random_voxels(0).long()}, "int32"),
        ({"coords": random_voxels(0)[:, :3].contiguous()}, r"\(M, 4\)"),
        ({"coords": random_voxels(0)[:100]}, "100 rows, features has 120"),
        ({"features": torch.zeros(120, 3, dtype=torch.int64)}, "floating"),
        ({"spatial_shape": (6, 0, 10)}, "positive spatial_shape"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_bad_tensors_are_named(change, message):
    good = {
        "features": torch.zeros(120, 3),
        "coords": random_voxels(0),
        "spatial_shape": SHAPE,
        "batch_size": BATCH,
    }
    with pytest.raises(ValueError, match=message):
        sparse(**{**good, **change})


def test_bad_layers_are_named():
    x = sparse(torch.zeros(120, 3), random_voxels(0), SHAPE, BATCH)
    with pytest.raises(ValueError, match="odd kernel_size"):
        SubMConv3d(3, 3, 2, indice_key="a")
    with pytest.raises(ValueError, match="expected 4 channels"):
        SubMConv3d(4, 3, 3, indice_key="a")(x)
    with pytest.raises(ValueError, match="no SparseConv3d with this key"):
        SparseInverseConv3d(3, 3, 2, indice_key="nowhere")(x)
    low = SparseConv3d(3, 3, 2, 2, indice_key="d")(x)
    with pytest.raises(ValueError, match="taken"):
        SparseConv3d(3, 3, 2, 2, indice_key="d")(x)
    with pytest.raises(ValueError, match=r"kernel \(2, 2, 2\)"):
        SparseInverseConv3d(3, 3, 3, indice_key="d")(low)
    SubMConv3d(3, 3, 3, indice_key="a")(x)
    with pytest.raises(ValueError, match="another level"):
        SubMConv3d(3, 3, 3, indice_key="a")(low)


def test_initial_weights_are_uniform_in_the_bound_of_minkowski_engine():
    torch.manual_seed(0)
    weight = SubMConv3d(16, 64, 3, indice_key="a").weight
    bound = (16 * 27) ** -0.5
    assert weight.abs().max() <= bound
    assert abs(weight.std().item() / (bound / 3**0.5) - 1) < 0.02
