from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lidardistill.data.images import read_image
from lidardistill.regions.slic.slic import slic
from lidardistill.regions.superpixels import run_codec
from lidardistill.regions.superpixels.run_codec import CODEC_VERSION, decode, decode_at, encode, encoded_size

IMPLEMENTATIONS = ("numba", "numpy")
INT32 = np.iinfo(np.int32)

sides = st.integers(0, 9)
few_ids = st.integers(0, 3)
any_ids = st.one_of(
    st.integers(INT32.min, INT32.max), st.sampled_from([INT32.min, INT32.max, -1, 0, 255, 256])
)
maps = st.tuples(sides, sides).flatmap(
    lambda shape: st.one_of(
        hnp.arrays(np.int32, shape, elements=few_ids), hnp.arrays(np.int32, shape, elements=any_ids)
    )
)


@given(labels=maps)
@settings(max_examples=150, deadline=None)
def test_lossless_and_equal_to_the_twin(labels):
    data = {name: encode(labels, implementation=name) for name in IMPLEMENTATIONS}
    assert data["numba"] == data["numpy"]
    for name in IMPLEMENTATIONS:
        out = decode(data["numba"], implementation=name)
        assert out.dtype == np.int32
        np.testing.assert_array_equal(out, labels)
    assert encoded_size(data["numba"]) == labels.shape


@given(labels=maps, draw=st.data())
@settings(max_examples=60, deadline=None)
def test_a_window_is_a_slice(labels, draw):
    height, width = labels.shape
    top, left = draw.draw(st.integers(0, height)), draw.draw(st.integers(0, width))
    rows, cols = draw.draw(st.integers(0, height - top)), draw.draw(st.integers(0, width - left))
    for name in IMPLEMENTATIONS:
        out = decode(encode(labels), window=(top, left, rows, cols), implementation=name)
        np.testing.assert_array_equal(out, labels[top : top + rows, left : left + cols])


@given(labels=maps, draw=st.data())
@settings(max_examples=100, deadline=None)
def test_crossings_of_rows_and_columns(labels, draw):
    height, width = labels.shape
    rows, cols = (
        np.array(sorted(draw.draw(st.lists(st.integers(0, n - 1), max_size=12))) if n else [], dtype=np.int64)
        for n in (height, width)
    )
    cols = cols[:: draw.draw(st.sampled_from([1, -1]))]
    for name in IMPLEMENTATIONS:
        out = decode_at(encode(labels), rows, cols, implementation=name)
        np.testing.assert_array_equal(out, labels[rows][:, cols])


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_crossings_outside_or_out_of_order_are_refused(implementation):
    data, good = encode(wavy_map()), np.array([0, 3, 3, 9])
    for bad in (np.array([0, 3, 2, 9]), np.array([-1, 2]), np.array([5, 90])):
        with pytest.raises(ValueError, match=r"rows must be in order within 0\.\.59"):
            decode_at(data, bad, good, implementation=implementation)
        with pytest.raises(ValueError, match=r"columns must be in order within 0\.\.89"):
            decode_at(data, good, bad, implementation=implementation)
    with pytest.raises(ValueError, match=r"out: expected \(4, 4\) int32"):
        decode_at(data, good, good, out=np.empty((4, 4), np.int64), implementation=implementation)


def wavy_map(height: int = 60, width: int = 90) -> np.ndarray:
    """Slanted and broken regions, more than 255 of them."""
    row, col = np.mgrid[:height, :width]
    return (((row + 4 + 3 * np.sin(col / 5)) // 4).astype(np.int32) * 25 + (col + row // 3) // 5).astype(
        np.int32
    )


def test_twins_agree_on_slanted_regions():
    labels = wavy_map()
    assert labels.max() > 255
    assert encode(labels) == encode(labels, implementation="numpy")
    np.testing.assert_array_equal(decode(encode(labels)), labels)
    np.testing.assert_array_equal(decode(encode(labels), implementation="numpy"), labels)


def test_other_integer_types_and_layouts():
    labels = wavy_map()
    for other in (labels.astype(np.int64), labels.astype(np.uint16), np.asfortranarray(labels)):
        assert encode(other) == encode(labels)
    assert encode(labels[::2, ::3]) == encode(np.ascontiguousarray(labels[::2, ::3]))


def test_real_superpixels_are_smaller_than_as_deflated_bytes(nuscenes_one):
    path = next((nuscenes_one / "samples" / "CAM_FRONT").glob("*.jpg"))
    labels = slic(np.ascontiguousarray(read_image(path)[::4, ::4]))
    data = encode(labels)
    np.testing.assert_array_equal(decode(data), labels)
    np.testing.assert_array_equal(decode(data, implementation="numpy"), labels)
    assert len(data) < 0.75 * len(zlib.compress(labels.astype(np.uint8).tobytes(), 9))


def test_noise_does_not_explode(rng):
    labels = rng.integers(INT32.min, INT32.max, (40, 50), dtype=np.int32)
    data = encode(labels)
    np.testing.assert_array_equal(decode(data), labels)
    assert len(data) < 2 * labels.nbytes


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_truncation_at_any_place_is_found(implementation):
    data = encode(wavy_map(12, 20))
    for length in range(len(data)):
        with pytest.raises(ValueError, match="decode: "):
            decode(data[:length], implementation=implementation)
    with pytest.raises(ValueError, match="truncated or with a tail"):
        decode(data + b"x", implementation=implementation)


def test_no_flipped_bit_gives_another_map():
    labels = wavy_map(12, 20)
    data = encode(labels)
    harmless = 0
    for place in range(len(data)):
        for bit in range(8):
            bad = bytearray(data)
            bad[place] ^= 1 << bit
            try:
                out = decode(bytes(bad))
            except ValueError:
                continue
            else:  # deflate pads its last byte
                harmless += 1
                np.testing.assert_array_equal(out, labels)
    assert harmless < 8


def decoded_by_both(height: int, width: int, streams: list[bytes]) -> list[list[list[int]] | None]:
    """Decode streams with valid check sums and arbitrary contents; None for refused ones."""
    data = run_codec._pack(height, width, streams)
    results: list[list[list[int]] | None] = []
    for name in IMPLEMENTATIONS:
        try:
            results.append(decode(data, implementation=name).tolist())
        except ValueError:
            results.append(None)
    return results


small_bytes = st.lists(st.sampled_from([0, 1, 1, 1, 2, 2, 3, 4, 128]), max_size=8).map(bytes)


@given(
    streams=st.tuples(*[st.one_of(small_bytes, st.binary(max_size=8))] * 5),
    height=st.integers(0, 3),
    width=st.integers(0, 4),
)
@settings(max_examples=300, deadline=None)
def test_streams_of_nonsense_are_treated_alike(streams, height, width):
    by_numba, by_numpy = decoded_by_both(height, width, list(streams))
    assert by_numba == by_numpy


@pytest.mark.parametrize(
    ("counts", "ops", "shifts", "ids", "gaps"),
    [
        ([0, 1], [0], [], [2], []),  # a row without a run
        ([1, 2], [0, 1, 1], [2], [2], []),  # a partner behind the end of the row above
        ([1, 1], [1, 0], [], [2], []),  # a partner above the first row
        ([2, 1], [0, 0, 1], [], [2, 4], [0]),  # a run that begins where the one before does
        ([2, 2], [0, 0, 1, 1], [3], [2, 4], [1]),  # one that is shifted to the left of it
        ([2, 1], [0, 0, 1], [], [2, 4], [3]),  # one that begins behind the row
        ([4, 1], [0, 0, 0, 0, 1], [], [2, 4, 6, 8], [1, 1, 1]),  # more runs than columns
        ([1], [0], [], [2], []),  # too few counts
        ([1, 1], [0], [], [2], []),  # too few ops
        ([1, 1], [0, 0], [], [2], []),  # too few ids
        ([2, 1], [0, 0, 1], [], [2, 4], []),  # too few gaps
        ([2, 2], [0, 0, 1, 1], [], [2, 4], [1]),  # too few shifts
        ([1, 1], [0, 1], [], [255, 255, 255, 255, 127], []),  # an id beyond int32
        ([1, 1], [0, 1], [], [128, 128, 128, 128, 128, 0], []),  # a number that is too long
    ],
)
def test_contradictory_streams_are_refused(counts, ops, shifts, ids, gaps):
    # Numba does not check bounds, so kernels must check the decoded values. The valid twin of these streams:
    assert decoded_by_both(2, 3, [b"\1\1", b"\0\1", b"", b"\2", b""]) == [[[1, 1, 1]] * 2] * 2
    streams = [bytes(stream) for stream in (counts, ops, shifts, ids, gaps)]
    assert decoded_by_both(2, 3, streams) == [None, None]


def test_other_versions_and_formats_are_named():
    data = bytearray(encode(wavy_map()))
    data[4] = CODEC_VERSION + 1
    with pytest.raises(ValueError, match=f"version {CODEC_VERSION + 1}, this program reads {CODEC_VERSION}"):
        decode(bytes(data))
    with pytest.raises(ValueError, match="not a label map"):
        decode(b"\x89PNG" + bytes(60))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((2, 3)), r"integers of shape \(H, W\), got float64 \(2, 3\)"),
        (np.zeros(3, np.int32), r"got int32 \(3,\)"),
        (np.full((2, 2), 2**31), "must fit int32"),
        (np.full((2, 2), -(2**31) - 1), "must fit int32"),
        (np.zeros((2, 2), bool), "got bool"),
    ],
)
def test_bad_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        encode(labels)


@pytest.mark.parametrize("window", [(-1, 0, 1, 1), (0, 0, 13, 1), (0, 15, 1, 6), (0, 0, -1, 1)])
def test_bad_window(window):
    with pytest.raises(ValueError, match="leaves the 12x20 map"):
        decode(encode(wavy_map(12, 20)), window=window)


def test_unknown_implementation():
    with pytest.raises(ValueError, match="choose one of numba, numpy"):
        encode(wavy_map(), implementation="c")
