import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lidardistill.ops import superpixel_pool


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


def both(features, superpixels, num_superpixels, **options):
    generator = torch.Generator().manual_seed(9)
    weight = torch.randn(
        features.shape[0] * num_superpixels, features.shape[1], generator=generator, dtype=features.dtype
    )
    results = []
    for pool in (superpixel_pool, one_hot_pool):
        leaf = features.clone().requires_grad_()
        pooled, count = pool(leaf, superpixels, num_superpixels, **options)
        (pooled * weight).sum().backward()
        results.append((pooled.detach(), count, leaf.grad))
    return results


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_equal_to_the_sparse_one_hot_product_in_value_and_gradient(align_corners, normalize, masked):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 8, 7, 10, generator=generator)
    superpixels = torch.randint(0, 12, (3, 28, 37), generator=generator, dtype=torch.int32) // 2 * 2
    mask = torch.rand(3, 28, 37, generator=generator) > 0.3 if masked else None
    ours, slow = both(features, superpixels, 12, normalize=normalize, align_corners=align_corners, mask=mask)
    torch.testing.assert_close(ours[0], slow[0], atol=1e-5, rtol=0)
    assert torch.equal(ours[1], slow[1])
    torch.testing.assert_close(ours[2], slow[2], atol=1e-5, rtol=0)
    assert torch.equal(ours[0][1::2], torch.zeros(18, 8))


@settings(max_examples=25, deadline=None)
@given(
    coarse=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    fine=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    align_corners=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_size_in_float64(coarse, fine, align_corners, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3, *coarse, generator=generator, dtype=torch.float64)
    superpixels = torch.randint(0, 4, (2, *fine), generator=generator)
    ours, slow = both(features, superpixels, 4, align_corners=align_corners)
    torch.testing.assert_close(ours[0], slow[0], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(ours[2], slow[2], atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("normalize", [True, False])
def test_gradcheck(normalize):
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(2, 3, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    superpixels = torch.randint(0, 5, (2, 7, 9), generator=generator)
    mask = torch.rand(2, 7, 9, generator=generator) > 0.2
    assert torch.autograd.gradcheck(
        lambda f: superpixel_pool(f, superpixels, 6, normalize=normalize, mask=mask)[0], features
    )


def test_neighbours_that_cancel_keep_their_direction():
    """f, -f, f, ... plus a little: |u|^2 is a small difference of large numbers."""
    generator = torch.Generator().manual_seed(3)
    sign = torch.ones(6, 8).cumsum(0).add(torch.ones(6, 8).cumsum(1)).remainder(2) * 2 - 1
    features = sign * torch.randn(1, 16, 1, 1, generator=generator) + 1e-3 * torch.randn(
        1, 16, 6, 8, generator=generator
    )
    superpixels = torch.randint(0, 9, (1, 26, 36), generator=generator)
    pooled, _ = superpixel_pool(features, superpixels, 9)
    expected, _ = one_hot_pool(features.double(), superpixels, 9)
    torch.testing.assert_close(pooled.double(), expected, atol=1e-5, rtol=0)


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
def test_the_gpu_agrees_with_the_cpu(device):
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(5, 16, 14, 26, generator=generator)
    superpixels = torch.randint(0, 20, (5, 56, 104), generator=generator, dtype=torch.int32)
    grads = []
    for where in (torch.device("cpu"), device):
        leaf = features.to(where).requires_grad_()
        pooled, _ = superpixel_pool(leaf, superpixels.to(where), 20)
        pooled.square().sum().backward()
        grads.append((pooled.detach().cpu(), leaf.grad.cpu()))
    torch.testing.assert_close(grads[0], grads[1], atol=1e-5, rtol=1e-4)
