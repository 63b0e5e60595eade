"""Points inside and outside of regions: limits for each kind and region, a function of the
generator."""

from __future__ import annotations

import numpy as np
import pytest

from lidardistill.regions.sweep.sampling import sample_region_points


def sweep() -> tuple[np.ndarray, np.ndarray]:
    """400 points of region 7, 40 of region 3, 5 of region 9, 300 of none, mixed; ids of none are rubbish."""
    region = np.repeat([7, 3, 9, 3], [400, 40, 5, 300])
    mask = np.arange(745) < 445
    order = np.random.default_rng(3).permutation(745)
    return region[order], mask[order]


def draw(seed: int = 0, **options: object):  # type: ignore[no-untyped-def]
    return sample_region_points(*sweep(), np.random.default_rng(seed), **options)  # type: ignore[arg-type]


def test_no_region_gives_more_than_its_share() -> None:
    region, mask = sweep()
    found = draw(max_per_region=32)
    assert len(np.unique(found.idx)) == len(found.idx) == 32 + 32 + 5 + 300
    assert np.array_equal(found.rich_mask, mask[found.idx])
    assert found.num_regions == 3
    for dense, (identity, count) in enumerate(((3, 32), (7, 32), (9, 5))):
        rows = found.idx[found.rich_mask & (found.region_of == dense)]
        assert len(rows) == count
        assert set(region[rows]) == {identity}


def test_the_counts_are_upper_bounds_and_ids_stay_dense() -> None:
    found = draw(num_rich=6, num_plain=20)
    assert (found.rich_mask.sum(), (~found.rich_mask).sum()) == (6, 20)
    assert set(found.region_of[found.rich_mask]) == set(range(found.num_regions))
    assert draw(num_rich=0, num_plain=0).idx.shape == (0,)


def test_every_point_of_a_region_is_as_likely() -> None:
    region, mask = sweep()
    times = np.zeros(len(region))
    for seed in range(200):
        times[draw(seed, max_per_region=40, num_plain=0).idx] += 1
    large = times[mask & (region == 7)]
    assert large.mean() == 200 * 40 / 400
    assert large.min() > 5
    assert large.max() < 45
    assert np.all(times[mask & (region != 7)] == 200)


def test_a_draw_follows_from_its_generator() -> None:
    assert np.array_equal(draw(1, num_rich=30).idx, draw(1, num_rich=30).idx)
    assert not np.array_equal(draw(1, num_rich=30).idx, draw(2, num_rich=30).idx)


def test_what_is_not_eligible_is_never_drawn() -> None:
    region, mask = sweep()
    eligible = np.arange(len(region)) % 2 == 0
    found = sample_region_points(region, mask, np.random.default_rng(0), eligible=eligible)
    assert eligible[found.idx].all()
    assert 0 < found.rich_mask.sum() < len(found.idx)


def test_a_sweep_without_points_or_without_regions_gives_none() -> None:
    nothing = sample_region_points(np.zeros(0, int), np.zeros(0, bool), np.random.default_rng(0))
    assert (nothing.idx.shape, nothing.num_regions) == ((0,), 0)
    plain = sample_region_points(np.zeros(9, int), np.zeros(9, bool), np.random.default_rng(0))
    assert (len(plain.idx), plain.rich_mask.any(), plain.num_regions) == (9, False, 0)


@pytest.mark.parametrize("options", [{"num_rich": -1}, {"max_per_region": 0}, {"eligible": np.ones(3, bool)}])
def test_what_does_not_fit_is_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="sample_region_points: expected"):
        draw(**options)
