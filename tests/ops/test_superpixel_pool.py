import importlib
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lidardistill.ops import segment_mean, superpixel_pool

# The module, which the function of the same name hides.
module = importlib.import_module("lidardistill.ops.superpixel_pool")


def one_hot_pool(features, superpixels, num_superpixels, normalize=True, align_corners=True, mask=None):
    """SLidR's way: upsample every channel, then a sparse one-hot matrix over every pixel."""
    views, channels = features.shape[:2]
    fine = F.interpolate(features, size=superpixels.shape[1:], mode="bilinear", align_corners=align_corners)
    if normalize:
        fine = F.normalize(fine, dim=1)
    ids = superpixels.long() + num_superpixels * torch.arange(views)[:, None, None]
    pixels = torch.arange(ids.numel())
    if mask is not None:
        ids, pixels = ids[mask], pixels[mask.flatten()]
    one_hot = torch.sparse_coo_tensor(
        torch.stack([ids.flatten(), pixels]),
        torch.ones(pixels.numel(), dtype=features.dtype),
        (views * num_superpixels, superpixels.numel()),
        check_invariants=True,
    )
    count = torch.sparse.sum(one_hot, 1).to_dense()
    total = one_hot @ fine.permute(0, 2, 3, 1).reshape(-1, channels)
    return total / (count[:, None] + (1e-6 if features.dtype == torch.float32 else 0)).clamp(min=1e-6), count


def upsample_pool(features, superpixels, num_superpixels, normalize=True, align_corners=True, mask=None):
    """Plain torch: upsample every channel, then the mean of the segments."""
    views, channels = features.shape[:2]
    fine = F.interpolate(features, size=superpixels.shape[1:], mode="bilinear", align_corners=align_corners)
    if normalize:
        fine = F.normalize(fine, dim=1)
    ids = superpixels.long() + num_superpixels * torch.arange(views)[:, None, None]
    return segment_mean(
        fine.permute(0, 2, 3, 1).reshape(-1, channels),
        ids.flatten(),
        views * num_superpixels,
        mask=None if mask is None else mask.flatten(),
    )


def with_gradient(pool, features, superpixels, num_superpixels, **options):
    """Means, counts, and the gradient of a sum of the means with fixed random weights."""
    weight = torch.randn(
        features.shape[0] * num_superpixels,
        features.shape[1],
        generator=torch.Generator().manual_seed(9),
    ).to(features.dtype)
    leaf = features.clone().requires_grad_()
    pooled, count = pool(leaf, superpixels, num_superpixels, **options)
    (pooled * weight).sum().backward()
    return pooled.detach(), count, leaf.grad


@pytest.mark.parametrize("twin", [one_hot_pool, upsample_pool])
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("implementation", ["numba", "torch"])
def test_equal_to_the_slow_twins_in_value_and_gradient(
    twin, align_corners, normalize, masked, dtype, within, implementation
):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 8, 7, 10, generator=generator, dtype=dtype)
    superpixels = torch.randint(0, 12, (3, 28, 37), generator=generator, dtype=torch.int32) // 2 * 2
    mask = torch.rand(3, 28, 37, generator=generator) > 0.3 if masked else None
    options = {"normalize": normalize, "align_corners": align_corners, "mask": mask}
    ours = with_gradient(superpixel_pool, features, superpixels, 12, implementation=implementation, **options)
    slow = with_gradient(twin, features, superpixels, 12, **options)
    torch.testing.assert_close(ours[0], slow[0], atol=within, rtol=0)
    assert torch.equal(ours[1], slow[1].float())
    torch.testing.assert_close(ours[2], slow[2], atol=within, rtol=0)
    assert torch.equal(ours[0][1::2], torch.zeros(18, 8, dtype=dtype))


def draw_superpixels(kind, fine, num_superpixels, generator):
    """Two views of superpixels: no two neighbours alike, blocks as SLIC makes them, or one superpixel
    for all.
    """
    if kind == "random":
        return torch.randint(0, num_superpixels, (2, *fine), generator=generator)
    if kind == "one":
        return torch.full((2, *fine), num_superpixels - 1)
    row, column = torch.arange(fine[0])[:, None] // 3, torch.arange(fine[1]) // 4
    return ((row * 5 + column) % num_superpixels).expand(2, -1, -1)


@settings(max_examples=60, deadline=None)
@given(
    coarse=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    fine=st.tuples(st.integers(0, 13), st.integers(1, 13)),
    kind=st.sampled_from(["random", "blocks", "one"]),
    num_superpixels=st.integers(1, 40),
    kept=st.sampled_from([None, 0.0, 0.3, 0.9]),
    align_corners=st.booleans(),
    normalize=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_size_superpixels_and_mask(
    coarse, fine, kind, num_superpixels, kept, align_corners, normalize, seed
):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3, *coarse, generator=generator, dtype=torch.float64)
    superpixels = draw_superpixels(kind, fine, num_superpixels, generator)
    mask = None if kept is None else torch.rand(2, *fine, generator=generator) < kept
    options = {"normalize": normalize, "align_corners": align_corners, "mask": mask}
    ours = with_gradient(superpixel_pool, features, superpixels, num_superpixels, **options)
    if 0 in fine:
        assert not any(part.any() for part in ours)
        return
    slow = with_gradient(upsample_pool, features, superpixels, num_superpixels, **options)
    scale = max(1.0, slow[2].abs().max().item())
    torch.testing.assert_close(ours[0], slow[0], atol=1e-10, rtol=0)
    assert torch.equal(ours[1], slow[1])
    torch.testing.assert_close(ours[2], slow[2], atol=1e-10 * scale, rtol=0)


@pytest.mark.parametrize("implementation", ["numba", "torch"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("align_corners", [True, False])
def test_gradcheck(normalize, align_corners, implementation):
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(2, 3, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    superpixels = torch.randint(0, 5, (2, 7, 9), generator=generator)
    mask = torch.rand(2, 7, 9, generator=generator) > 0.2
    options = {"normalize": normalize, "align_corners": align_corners, "implementation": implementation}
    assert torch.autograd.gradcheck(
        lambda f: superpixel_pool(f, superpixels, 6, mask=mask, **options)[0], features
    )


def cancelling(noise, dtype):
    """f, -f, f, ...

    plus noise, and a fine grid that meets the middles, where nothing but the noise is left.
    """
    generator = torch.Generator().manual_seed(3)
    sign = torch.ones(6, 8).cumsum(0).add(torch.ones(6, 8).cumsum(1)).remainder(2) * 2 - 1
    one = torch.randn(1, 16, 1, 1, generator=generator, dtype=dtype)
    rest = torch.randn(1, 16, 6, 8, generator=generator, dtype=dtype)
    return sign * one + noise * rest, torch.randint(0, 9, (1, 11, 15), generator=generator)


@pytest.mark.parametrize(
    ("noise", "dtype", "within", "grad_within"),
    [(1e-3, torch.float32, 1e-6, 1e-6), (1e-4, torch.float64, 1e-11, 1e-11)],
)
def test_neighbours_that_cancel_keep_their_direction(noise, dtype, within, grad_within):
    """|u|^2 from dot products is a small difference of large numbers there."""
    features, superpixels = cancelling(noise, dtype)
    pooled, _, grad = with_gradient(superpixel_pool, features, superpixels, 9)
    expected, _, expected_grad = with_gradient(one_hot_pool, features.double(), superpixels, 9)
    torch.testing.assert_close(pooled.double(), expected, atol=within, rtol=0)
    largest = expected_grad.abs().max().item()
    assert largest > 0.05 / noise  # the middles are really met
    torch.testing.assert_close(grad.double(), expected_grad, atol=grad_within * largest, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pixels_shorter_than_the_limit_are_divided_by_it(dtype):
    generator = torch.Generator().manual_seed(6)
    features = 1e-13 * torch.randn(1, 4, 3, 3, generator=generator, dtype=dtype)
    superpixels = torch.randint(0, 3, (1, 7, 7), generator=generator)
    ours = with_gradient(superpixel_pool, features, superpixels, 3)
    slow = with_gradient(upsample_pool, features, superpixels, 3)
    torch.testing.assert_close(ours[0], slow[0])
    torch.testing.assert_close(ours[2] * 1e-12, slow[2] * 1e-12)


def test_the_same_bits_every_time_and_in_any_memory_layout():
    generator = torch.Generator().manual_seed(7)
    features = torch.randn(2, 8, 6, 9, generator=generator)
    superpixels = torch.randint(0, 9, (2, 24, 40), generator=generator, dtype=torch.int32)
    first = with_gradient(superpixel_pool, features, superpixels, 9)
    for layout in (features, features.to(memory_format=torch.channels_last)):
        for labels in (superpixels, superpixels.long(), superpixels.mT.contiguous().mT):
            again = with_gradient(superpixel_pool, layout, labels, 9)
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("row", [0, 4])
def test_what_is_not_a_number_stays_in_its_superpixels(row):
    """Every channel of a pixel that has no length is lost, and nothing else, in the gradient too."""
    features = torch.ones(2, 4, 5, 5)
    features[0, 2, row] = torch.nan
    superpixels = torch.zeros(2, 17, 17, dtype=torch.int32)
    superpixels[:, 8:] = 1
    pooled, _, grad = with_gradient(superpixel_pool, features, superpixels, 2)
    lost = row // 4
    assert pooled[lost].isnan().all()
    torch.testing.assert_close(pooled[1 - lost], torch.full((4,), 0.5))
    torch.testing.assert_close(pooled[2:], torch.full((2, 4), 0.5))
    assert grad[0, :, row].isnan().all()
    assert grad[0, :, 4 - row].isfinite().all()
    assert grad[1].isfinite().all()


def test_no_implementation_is_chosen_that_cannot_run():
    features, superpixels = torch.zeros(1, 4, 3, 3), torch.zeros(1, 6, 6, dtype=torch.int32)
    with pytest.raises(ValueError, match="auto, numba, triton, torch, got 'cuda'"):
        superpixel_pool(features, superpixels, 1, implementation="cuda")
    with pytest.raises(ValueError, match="on meta"):
        superpixel_pool(features.to("meta"), superpixels, 1, implementation="numba")
    with pytest.raises(ValueError, match="float64"):
        superpixel_pool(features.double(), superpixels, 1, implementation="triton")


def test_triton_that_does_not_work_is_said_once(caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "lidardistill.ops.kernels.superpixel_pool_triton", None)
    module._triton_runs.cache_clear()
    try:
        assert not module._triton_runs()
        assert not module._triton_runs()
    finally:
        module._triton_runs.cache_clear()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "runs in plain torch" in caplog.text


def test_zero_features_give_zeros_and_finite_gradients():
    features = torch.zeros(1, 4, 3, 3, requires_grad=True)
    pooled, count = superpixel_pool(features, torch.zeros(1, 6, 6, dtype=torch.int32), 2)
    pooled.sum().backward()
    assert torch.equal(pooled, torch.zeros(2, 4))
    assert count.tolist() == [36.0, 0.0]
    assert torch.isfinite(features.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32_and_counts_are_exact(dtype):
    features = torch.ones(1, 4, 3, 3, dtype=dtype, requires_grad=True)
    pooled, count = superpixel_pool(features, torch.zeros(1, 61, 71, dtype=torch.int32), 1)
    assert pooled.dtype == count.dtype == torch.float32
    assert count.item() == 61 * 71
    torch.testing.assert_close(pooled, torch.full((1, 4), 0.5))
    pooled.sum().backward()
    assert features.grad.dtype == dtype


def test_autocast_does_not_reach_the_sums():
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(1, 8, 4, 4, generator=generator)
    superpixels = torch.randint(0, 3, (1, 16, 16), generator=generator)
    plain, _ = superpixel_pool(features, superpixels, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast, _ = superpixel_pool(features, superpixels, 3)
    assert torch.equal(plain, cast)


def test_ids_above_255_and_ids_under_the_mask():
    superpixels = torch.full((1, 4, 4), 300, dtype=torch.int32)
    superpixels[0, 0] = -1
    mask = superpixels >= 0
    pooled, count = superpixel_pool(torch.ones(1, 2, 2, 2), superpixels, 301, mask=mask)
    assert count[300].item() == 12
    assert count.sum().item() == 12
    assert pooled[0].tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match=r"0\.\.300 .* got -1\.\.300"):
        superpixel_pool(torch.ones(1, 2, 2, 2), superpixels, 301)
    with pytest.raises(ValueError, match=r"0\.\.149 .* got 300\.\.300"):
        superpixel_pool(torch.ones(1, 2, 2, 2), superpixels, 150, mask=mask)


def test_no_views_and_a_mask_of_nothing():
    features = torch.zeros(0, 4, 3, 3, requires_grad=True)
    pooled, count = superpixel_pool(features, torch.zeros(0, 6, 6, dtype=torch.int32), 5)
    pooled.sum().backward()
    assert (pooled.shape, count.shape) == ((0, 4), (0,))
    features = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    nothing = torch.zeros(1, 6, 6, dtype=torch.bool)
    pooled, count = superpixel_pool(features, torch.full((1, 6, 6), 99), 5, mask=nothing)
    pooled.sum().backward()
    assert count.sum() == 0
    assert torch.equal(pooled, torch.zeros(5, 4))
    assert torch.equal(features.grad, torch.zeros(1, 4, 3, 3))


def test_shapes_that_do_not_fit():
    features, superpixels = torch.zeros(2, 4, 3, 3), torch.zeros(2, 6, 6, dtype=torch.int32)
    with pytest.raises(ValueError, match=r"\(V, C, h, w\)"):
        superpixel_pool(features[0], superpixels, 5)
    with pytest.raises(ValueError, match="V = 2 views"):
        superpixel_pool(features, superpixels[:1], 5)
    with pytest.raises(ValueError, match="mask"):
        superpixel_pool(features, superpixels, 5, mask=torch.ones(2, 6, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="empty"):
        superpixel_pool(features[:, :, :0], superpixels, 5)


@pytest.mark.gpu
@pytest.mark.parametrize("implementation", ["auto", "torch"])
def test_the_gpu_agrees_with_the_cpu(device, implementation):
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(5, 16, 14, 26, generator=generator)
    superpixels = torch.randint(0, 20, (5, 56, 104), generator=generator, dtype=torch.int32)
    grads = []
    for where in (torch.device("cpu"), device):
        leaf = features.to(where).requires_grad_()
        pooled, _ = superpixel_pool(leaf, superpixels.to(where), 20, implementation=implementation)
        pooled.square().sum().backward()
        grads.append((pooled.detach().cpu(), leaf.grad.cpu()))
    torch.testing.assert_close(grads[0], grads[1], atol=1e-5, rtol=1e-4)
