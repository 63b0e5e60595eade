"""The order of keyframes: the same for any number of processes, and from any step on."""

from itertools import chain, islice

import numpy as np
import pytest

from lidardistill.data.sampler import EpochOrder, OnceSampler, StepSampler


def test_each_epoch_is_a_permutation_of_its_own():
    order = EpochOrder(50, seed=1)
    orders = [order.order(epoch) for epoch in range(4)]
    for one in orders:
        assert one.dtype == np.int64
        assert np.array_equal(np.sort(one), np.arange(50))
    assert len({tuple(one) for one in orders}) == 4
    assert not np.array_equal(EpochOrder(50, seed=2).order(0), orders[0])
    assert np.array_equal(EpochOrder(50, seed=1).order(2), orders[2]), (
        "asking for other epochs first changed it"
    )


@pytest.mark.parametrize(("world_size", "batch_size"), [(1, 6), (2, 3), (3, 2)])
def test_a_step_holds_the_same_keyframes_for_any_number_of_processes(world_size, batch_size):
    reference = StepSampler(EpochOrder(20, seed=1), 6)
    ranks = [StepSampler(EpochOrder(20, seed=1), batch_size, rank, world_size) for rank in range(world_size)]
    for expected, *batches in islice(zip(reference, *ranks, strict=True), 12):
        assert all(len(batch) == batch_size for batch in batches)
        assert sorted(chain(*batches)) == sorted(expected)
        # rank r takes every world_size-th entry of the global batch
        assert [batch[k] for k in range(batch_size) for batch in batches] == expected


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_stream_wraps_and_loses_nothing(world_size):
    """20 keyframes, 6 a step: three epochs are exactly ten steps."""
    samplers = [
        StepSampler(EpochOrder(20, seed=3), 6 // world_size, rank, world_size) for rank in range(world_size)
    ]
    keys = sorted(chain.from_iterable(chain.from_iterable(islice(sampler, 10)) for sampler in samplers))
    order = EpochOrder(20, seed=3)
    assert keys == [(e, position, order.order(e)[position]) for e in range(3) for position in range(20)]


@pytest.mark.parametrize("start_step", [0, 1, 5, 13])
def test_a_run_resumes_at_any_step(start_step):
    def batches(first):
        return StepSampler(EpochOrder(7, seed=5), 2, 1, 3, first)

    whole = list(islice(batches(0), 20))
    assert list(islice(batches(start_step), 20 - start_step)) == whole[start_step:]


def test_a_batch_may_be_larger_than_the_data_set():
    keys = next(iter(StepSampler(EpochOrder(1, seed=0), 4)))
    assert keys == [(epoch, 0, 0) for epoch in range(4)], "the same keyframe with other augmentations"


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("num_samples", [0, 1, 2, 11])
def test_evaluation_sees_each_keyframe_once(num_samples, world_size):
    samplers = [OnceSampler(num_samples, 4, rank, world_size) for rank in range(world_size)]
    batches = [list(sampler) for sampler in samplers]
    assert [len(b) for b in batches] == [len(s) for s in samplers]
    keys = sorted(chain.from_iterable(chain.from_iterable(batches)))
    assert keys == [(0, place, place) for place in range(num_samples)]
    assert all(len(batch) <= 4 for of_rank in batches for batch in of_rank)


def test_wrong_numbers_are_named():
    order = EpochOrder(5, seed=0)
    with pytest.raises(ValueError, match="at least 1 keyframe, got 0"):
        EpochOrder(0, seed=0)
    with pytest.raises(ValueError, match=r"rank: expected 0\.\.1, got 2"):
        StepSampler(order, 1, 2, 2)
    with pytest.raises(ValueError, match="batch_size"):
        StepSampler(order, 0)
    with pytest.raises(ValueError, match="start_step"):
        StepSampler(order, 1, start_step=-1)
    with pytest.raises(ValueError, match="batch_size"):
        OnceSampler(5, 0)
