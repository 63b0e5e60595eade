import pytest
import torch

from lidardistill.ops import segment_max, segment_mean
from lidardistill.ops.segment import segment_mean_torch


def one_hot_mean(values, idx, num_segments):
    """SLidR's way: a sparse one-hot matrix times the rows."""
    n = idx.numel()
    one_hot = torch.sparse_coo_tensor(
        torch.stack([idx, torch.arange(n)]),
        torch.ones(n, dtype=values.dtype),
        (num_segments, n),
        check_invariants=True,
    )
    count = torch.sparse.sum(one_hot, 1).to_dense()
    return (one_hot @ values) / (count[:, None] + 1e-6), count


def test_equal_to_the_sparse_one_hot_product_in_value_and_gradient():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(500, 16, generator=generator)
    idx = torch.randint(0, 40, (500,), generator=generator) // 2 * 2  # odd segments are empty
    weight = torch.randn(40, 16, generator=generator)
    ours, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    mean, count = segment_mean(ours, idx, 40)
    expected, expected_count = one_hot_mean(theirs, idx, 40)
    (mean * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(mean, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=0)
    assert torch.equal(count, expected_count)
    assert torch.equal(mean[1::2], torch.zeros(20, 16))


@pytest.mark.parametrize("masked", [False, True])
def test_rows_that_are_not_gathered_are_those_that_are(masked):
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(60, 17, generator=generator)  # voxels without a point, and with many
    rows = torch.randint(0, 40, (500,), generator=generator)
    idx = torch.randint(0, 30, (500,), generator=generator, dtype=torch.int32)
    mask = torch.rand(500, generator=generator) < 0.7 if masked else None
    if masked:
        rows[~mask], idx[~mask] = -5, 99  # not to be looked at
    weight = torch.randn(30, 17, generator=generator)
    found = []
    for function in (
        lambda v: segment_mean(v, idx, 30, mask=mask, rows=rows),
        lambda v: segment_mean_torch(v, idx, 30, mask, rows),
    ):
        leaf = values.clone().requires_grad_()
        mean, count = function(leaf)
        (mean * weight).sum().backward()
        found.append((mean.detach(), count, leaf.grad))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0, msg="the same sums in the same order")


def test_gradcheck_of_rows_that_are_not_gathered():
    values = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    rows, idx = torch.arange(20) % 5, torch.arange(20) % 7
    assert torch.autograd.gradcheck(lambda v: segment_mean(v, idx, 8, rows=rows)[0], values)


def test_gradcheck_under_a_mask():
    values = torch.randn(
        20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True
    )
    idx = torch.arange(20) % 6
    mask = torch.arange(20) % 5 != 0
    assert torch.autograd.gradcheck(lambda v: segment_mean(v, idx, 7, mask=mask)[0], values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype):
    values = torch.full((5001, 2), 0.5, dtype=dtype, requires_grad=True)
    mean, count = segment_mean(values, torch.zeros(5001, dtype=torch.int32), 2)
    assert mean.dtype == count.dtype == torch.float32
    assert count.tolist() == [5001.0, 0.0]
    assert mean[0].tolist() == [0.5, 0.5]
    mean.sum().backward()
    assert values.grad.dtype == dtype


def test_masked_rows_may_hold_anything():
    values = torch.tensor([[1.0], [float("nan")], [3.0]], requires_grad=True)
    mask = torch.tensor([True, False, True])
    mean, count = segment_mean(values, torch.tensor([0, -7, 0]), 1, mask=mask)
    mean.sum().backward()
    assert mean.item() == 2.0
    assert count.item() == 2.0
    assert values.grad.flatten().tolist() == [0.5, 0.0, 0.5]


def test_no_rows_and_no_segments():
    mean, count = segment_mean(torch.zeros(0, 3, requires_grad=True), torch.zeros(0, dtype=torch.int64), 4)
    mean.sum().backward()
    assert mean.shape == (4, 3)
    assert count.tolist() == [0.0] * 4
    assert segment_mean(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), 0)[0].shape == (0, 3)


@pytest.mark.parametrize("wrong", [-1, 4, 255])
def test_an_id_outside_the_table_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=r"0\.\.3 .* got .*" + str(wrong)):
        segment_mean(torch.zeros(2, 3), torch.tensor([1, wrong]), 4)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="floating point"):
        segment_mean(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), 4)
    with pytest.raises(ValueError, match="N = 2"):
        segment_mean(torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), 4)
    with pytest.raises(ValueError, match=r"N = 3, got \(3,\), None, \(3,\)|rows must lie in 0\.\.1"):
        segment_mean(torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), 4, rows=torch.tensor([0, 2, 1]))


def test_maximum_of_every_segment_and_its_gradient():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(50, 3, dtype=torch.float64, generator=generator).sub(9).requires_grad_()
    idx = torch.randint(0, 7, (50,), generator=generator)
    found = segment_max(values, idx, 9)
    wanted = torch.stack(
        [values[idx == s].amax(0) if (idx == s).any() else torch.zeros(3).double() for s in range(9)]
    )
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert found[:7].max() < 0, "empty is zero, but zero takes no part in a maximum"
    weight = torch.randn(9, 3, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(
        *(torch.autograd.grad((out * weight).sum(), values)[0] for out in (found, wanted))
    )


def test_rows_that_share_a_maximum_share_its_gradient():
    values = torch.tensor([[1.0], [1.0], [0.0], [5.0]], requires_grad=True)
    segment_max(values, torch.tensor([0, 0, 0, 1]), 2).sum().backward()
    assert values.grad.tolist() == [[0.5], [0.5], [0.0], [1.0]]


def test_a_maximum_of_nothing_and_bad_input():
    assert segment_max(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 3).tolist() == [[0.0] * 4] * 3
    with pytest.raises(ValueError, match=r"must lie in 0\.\.1"):
        segment_max(torch.zeros(1, 4), torch.tensor([2]), 2)
    with pytest.raises(ValueError, match=r"segment_idx \(N,\)"):
        segment_max(torch.zeros(2, 4), torch.tensor([0]), 2)
