"""Files of other columns, types and units than a data set promises."""

from __future__ import annotations

import io

import numpy as np
import pytest

from lidardistill.datasets.scan_layout import check_layout


@pytest.fixture
def scan(rng):
    """(3000, 5) float32 as nuScenes has it."""
    points = np.empty((3000, 5), np.float32)
    points[:, :3] = rng.normal(size=(3000, 3)) * [30, 30, 2]
    points[:, 3] = rng.integers(0, 256, 3000)
    points[:, 4] = rng.integers(0, 32, 3000)
    return points


def found(tmp_path, content, columns=5, most=255.0):
    path = tmp_path / "scan.bin"
    path.write_bytes(content if isinstance(content, bytes) else np.ascontiguousarray(content).tobytes())
    finding = check_layout(path, columns, most)
    assert finding is None or str(path) in finding.text
    return finding


def test_a_right_scan_and_a_few_stray_points(tmp_path, scan):
    assert found(tmp_path, scan) is None
    scan[7, 0] = 1e9
    finding = found(tmp_path, scan)
    assert finding.level == "warning"
    assert "1 points lie farther than 1000 m" in finding.text


def test_points_that_are_nan_are_another_finding(tmp_path, scan):
    scan[::3, :3] = np.nan
    assert found(tmp_path, scan) is None


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda a: a[:, :4], "4 float32 a point fits"),
        (lambda a: a[:2999, :4], "4 float32 a point fits"),
        (lambda a: np.c_[a, a[:, :1]].astype(np.float32), "6 float32 a point fits"),
        (lambda a: a.astype(np.float64), "5 float64 a point fits"),
        (lambda a: a[:, :4].astype(np.float64), "4 float64 a point fits"),
        (lambda a: a.astype(">f4"), "5 big-endian float32 a point fits"),
        (lambda a: (a * 100).astype(np.int32), "does not hold points"),
    ],
)
def test_another_layout_is_an_error_that_names_it(tmp_path, scan, change, what):
    finding = found(tmp_path, change(scan))
    assert finding.level == "error"
    assert what in finding.text


def test_kitti_files_of_five_columns(tmp_path, scan):
    assert "5 float32 a point fits" in found(tmp_path, scan, columns=4, most=1.0).text


@pytest.mark.parametrize("head", [b"# .PCD v0.7\nVERSION 0.7\n", b"ply\nformat binary"])
def test_a_header_is_named(tmp_path, scan, head):
    finding = found(tmp_path, head.ljust(40) + scan.tobytes())
    assert finding.level == "error"
    assert "no header" in finding.text


def test_a_numpy_file(tmp_path, scan):
    stream = io.BytesIO()
    np.save(stream, scan)
    assert "a NumPy file" in found(tmp_path, stream.getvalue()).text


def test_units_and_rings_that_are_odd_are_warnings(tmp_path, scan):
    scan[:, 3] *= 257
    assert "voxels.intensity_scale" in found(tmp_path, scan).text
    scan[:, 3] /= 65535
    assert "voxels.intensity_scale=1.0" in found(tmp_path, scan).text
    scan[:, 3] *= 200
    scan[:, 4] += 0.25
    finding = found(tmp_path, scan)
    assert finding.level == "warning"
    assert "no ring numbers" in finding.text


def test_truncated_and_empty_files_are_for_the_reader(tmp_path, scan):
    assert found(tmp_path, scan.tobytes()[:-7]) is None
    assert found(tmp_path, b"") is None
