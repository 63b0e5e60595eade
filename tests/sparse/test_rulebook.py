"""Index pairs against a dictionary, and against spconv's own."""

from __future__ import annotations

import importlib.util
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lidardistill.sparse.rulebook import Rulebook, strided_rulebook, submanifold_rulebook
from lidardistill.sparse.sparse import spconv_rulebook
from tests.support.clouds import random_voxels

SHAPE = (6, 8, 10)
needs_spconv = pytest.mark.skipif(
    importlib.util.find_spec("spconv") is None, reason="spconv is not installed"
)


def triples(book: Rulebook) -> set[tuple[int, int, int]]:
    """(offset, source, target) of every pair, the implicit centre included."""
    offset = np.repeat(book.offsets, book.sizes)
    found = set(zip(offset.tolist(), book.source.tolist(), book.target.tolist(), strict=True))
    assert len(found) == len(offset), "a pair stands twice"
    if book.centre is not None:
        found |= {(book.centre, i, i) for i in range(book.num_source)}
    return found


def neighbours_by_dictionary(coords: torch.Tensor, size: int) -> set[tuple[int, int, int]]:
    rows = {tuple(c): i for i, c in enumerate(coords.tolist())}
    found = set()
    for (b, z, y, x), target in rows.items():
        for k, (kz, ky, kx) in enumerate(itertools.product(range(size), repeat=3)):
            source = rows.get((b, z + kz - size // 2, y + ky - size // 2, x + kx - size // 2))
            if source is not None:
                found.add((k, source, target))
    return found


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_voxels=st.integers(0, 200),
    size=st.sampled_from([3, 5]),
    in_order=st.booleans(),
)
def test_submanifold_pairs_are_those_of_a_dictionary(seed, num_voxels, size, in_order):
    coords = random_voxels(seed, num_voxels, SHAPE)
    if in_order:
        coords = torch.from_numpy(np.unique(coords.numpy(), axis=0))
    book = submanifold_rulebook(coords, SHAPE, size)
    assert triples(book) == neighbours_by_dictionary(coords, size)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_voxels=st.integers(0, 200),
    layer=st.sampled_from(
        [
            *((2, 2, 0), (3, 2, 1), (3, 1, 1), (3, 3, 0), (1, 2, 0)),
            *((3, 2, (0, 1, 1)), ((3, 1, 1), (2, 1, 1), 0), ((1, 2, 3), (3, 2, 1), (0, 1, 2))),
        ]
    ),
)
def test_strided_pairs_are_those_of_a_dictionary(seed, num_voxels, layer):
    coords = random_voxels(seed, num_voxels, SHAPE)
    book, out, shape = strided_rulebook(coords, SHAPE, *layer)
    size, stride, padding = ((v, v, v) if isinstance(v, int) else v for v in layer)
    axes = list(zip(SHAPE, size, stride, padding, strict=True))
    assert shape == tuple((n + 2 * p - k) // s + 1 for n, k, s, p in axes)
    assert out.dtype == torch.int32
    assert out.tolist() == sorted(out.tolist()), "outputs ascend"
    rows = {tuple(c): i for i, c in enumerate(out.tolist())}
    assert len(rows) == len(out)
    expected = set()
    for source, (b, *cell) in enumerate(coords.tolist()):
        for k, ks in enumerate(itertools.product(*map(range, size))):
            steps = [divmod(c + p - j, s) for c, j, s, p in zip(cell, ks, stride, padding, strict=True)]
            if all(r == 0 and 0 <= q < s for (q, r), s in zip(steps, shape, strict=True)):
                expected.add((k, source, rows[(b, *(q for q, _ in steps))]))
    assert triples(book) == expected
    assert {t for _, _, t in expected} == set(rows.values()), "every output has an input"


@needs_spconv
@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_spconvs(seed):
    coords = random_voxels(seed, 150, SHAPE)
    twin, _ = spconv_rulebook(coords, SHAPE, 2, 3, submanifold=True)
    assert triples(submanifold_rulebook(coords, SHAPE, 3)) == triples(twin)
    for size, stride, padding in ((2, 2, 0), (3, 2, 1), (3, 2, (0, 1, 1)), ((3, 1, 1), (2, 1, 1), 0)):
        book, out, _ = strided_rulebook(coords, SHAPE, size, stride, padding)
        twin, twin_out = spconv_rulebook(coords, SHAPE, 2, size, stride, padding)
        # spconv numbers the outputs in another order; by coordinate they are the same.
        ours = {(k, s, tuple(out[t].tolist())) for k, s, t in triples(book)}
        assert ours == {(k, s, tuple(twin_out[t].tolist())) for k, s, t in triples(twin)}


def test_groups_list_every_pair_of_a_row():
    coords = random_voxels(0, 100, SHAPE)
    book = submanifold_rulebook(coords, SHAPE, 3)
    for csr, rows in ((book.by_target, book.target), (book.by_source, book.source)):
        assert csr.start[0] == 0
        assert csr.start[-1] == len(rows)
        for r in range(100):
            pairs = csr.pair[csr.start[r] : csr.start[r + 1]].tolist()
            assert pairs == np.flatnonzero(rows.numpy() == r).tolist()
    assert book.inverse.by_target.pair.equal(book.by_source.pair)
    assert book.inverse.source.equal(book.target)


def test_a_voxel_given_twice_is_named():
    coords = random_voxels(0, 50, SHAPE)
    coords[7] = coords[31]
    with pytest.raises(
        ValueError, match=rf"voxel \[{', '.join(map(str, coords[7].tolist()))}\].*more than one row"
    ):
        submanifold_rulebook(coords, SHAPE, 3)


@pytest.mark.parametrize(("column", "value"), [(0, -1), (1, 6), (2, -1), (3, 10)])
def test_a_voxel_outside_the_grid_stops(column, value):
    coords = random_voxels(0, 50, SHAPE)
    coords[3, column] = value
    with pytest.raises(ValueError, match="inside spatial_shape"):
        submanifold_rulebook(coords, SHAPE, 3)
    with pytest.raises(ValueError, match="inside spatial_shape"):
        strided_rulebook(coords, SHAPE, 2, 2, 0)


def test_a_grid_smaller_than_the_kernel_stops():
    with pytest.raises(ValueError, match="too small for a kernel of 3"):
        strided_rulebook(torch.zeros(1, 4, dtype=torch.int32), (2, 4, 4), 3, 2, 0)


def test_neighbours_do_not_wrap_around_the_edge_of_the_grid():
    shape = (2, 3, 4)
    coords = torch.tensor([[0, 0, 0, 3], [0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.int32)
    book = submanifold_rulebook(coords, shape, 3)
    assert triples(book) == neighbours_by_dictionary(coords, 3)
