"""The convolution's benchmark is only worth its figures if all ways compute the same."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from lidardistill.bench import conv as bench_conv

pytestmark = pytest.mark.skipif(importlib.util.find_spec("spconv") is None, reason="spconv is not installed")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(bench_conv, "LAYERS", ((2, 8, 8), (3, 96, 64)))
    monkeypatch.setattr("lidardistill.bench.harness.timing.CALLS_PER_ROUND", 1)


def test_what_is_measured_is_right(small):
    before = torch.get_num_threads()
    found = bench_conv.run(rounds=1)
    assert torch.get_num_threads() == before
    assert list(found["layers"]) == ["level 2, 8 to 8", "level 3, 96 to 64"]
    for layer in found["layers"].values():
        assert layer["pairs"] > layer["voxels"] > 100
        for way in ("mm", "fp32", "fp32_backward"):
            assert layer[way]["ratio"] > 0
            assert layer[way]["rounds"] == 1
    assert (
        found["ratio_fp32_backward_96_64"] == found["layers"]["level 3, 96 to 64"]["fp32_backward"]["ratio"]
    )
    quality = found["quality"]
    assert 0 < quality["spconv"] < 2e-6
    assert 0 < quality["fp32"] < 2e-6
    assert 0 < quality["fp32_gradient"] < 1e-5
    assert min(found["gemm_gflops"].values()) > 0


def test_real_voxels(small, nuscenes_one):
    found = bench_conv.run(rounds=1, dataroot=nuscenes_one)
    assert found["layers"]["level 2, 8 to 8"]["voxels"] == 5923
