"""Where a step's time goes: parts add up, floors are counted right, the trace opens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from lidardistill.bench import step as bench_step
from lidardistill.bench.profile.floors import _sparse_flops, bytes_of_parts, flops_of_parts
from lidardistill.bench.profile.parts import Clock, Parts, measured, one_step
from lidardistill.bench.profile.step import ORDER, table
from lidardistill.cli.main import app
from lidardistill.config.io import load_config
from lidardistill.methods.slidr import method as slidr
from lidardistill.sparse.sparse import SparseConv3d, SparseInverseConv3d, SubMConv3d, sparse
from lidardistill.tasks.pretrain.config import PretrainConfig
from lidardistill.tasks.pretrain.run import Pretraining
from tests.cli.test_main import DEMO

CONV_PAIRS = 7**3  # of a full 3 x 3 x 3 block under a 3 x 3 x 3 kernel: 7 pairs along each axis

DENSE = "student: dense convolutions"
NOT_OF_MINKUNET = {DENSE, "student: lift and splat"}


class Counter:
    """A meter that shows what it is told."""

    value = 0

    def mark(self):
        return self.value

    def between(self, start, end):
        return float(end - start)


def overrides(world, tmp_path):
    return [
        f"data.dataroot={world}",
        f"data.superpixels.cache={tmp_path / 'superpixels'}",
        f"teacher_cache={tmp_path / 'teacher'}",
        "data.augment.image_size=[32,64]",
    ]


@pytest.fixture
def tiny_run(tiny_world, tmp_path):
    run = Pretraining.build(load_config(PretrainConfig, DEMO, overrides(tiny_world, tmp_path)))
    run.compute_teacher_features()
    return run


def test_a_part_does_not_count_the_parts_inside():
    meter = Counter()
    parts = Parts(meter)
    for _ in range(2):
        with parts("outer"):
            meter.value += 1
            with parts("inner"):
                meter.value += 10
            meter.value += 2
    assert parts.take() == {"outer": 6.0, "inner": 20.0}
    assert parts.take() == {}
    assert parts.parents == {"outer": None, "inner": "outer"}


def test_a_part_that_raises_ends():
    parts = Parts(Counter())
    with pytest.raises(ValueError, match="no"), parts("outer"), parts("inner"):
        raise ValueError("no")
    with parts("next"):
        pass
    assert parts.parents["next"] is None
    assert parts.take() == {"outer": 0.0, "inner": 0.0, "next": 0.0}


def test_a_step_has_all_its_parts_and_leaves_nothing_behind(tiny_run):
    before = slidr.segment_mean, tiny_run.method.student.forward
    parts = Parts(Clock())
    with measured(tiny_run.method, parts):
        one_step(tiny_run, tiny_run.batches(0), tiny_run.optimizer(), 0, parts)
        assert slidr.segment_mean is not before[0]
    assert (slidr.segment_mean, tiny_run.method.student.forward) == before
    assert not any("forward" in vars(module) for module in tiny_run.method.modules())
    # The demo's teacher is cached, so that it does not run.
    assert set(parts.take()) == set(ORDER) - {"teacher", *NOT_OF_MINKUNET}
    assert parts.parents["student: index pairs"] == "student: convolutions"
    assert parts.parents["pooling"] == parts.parents["loss"] == "forward"


def test_the_benchmark_sorts_every_part_into_its_five(tiny_run, monkeypatch):
    monkeypatch.setattr(bench_step, "WARM_UP", 0)
    steps = bench_step._Steps(tiny_run)
    steps.take()
    found = steps.summary()
    assert list(found["parts"]) == list(bench_step.PARTS)
    assert all(part["median_ms"] > 0 for part in found["parts"].values())
    assert found["median_ms"] == pytest.approx(
        sum(part["median_ms"] for part in found["parts"].values()), abs=0.01
    )


def test_flops_of_the_linear_layers_over_voxels(tiny_run):
    """Their products are not torch's where they run, and are counted all the same."""
    batch = next(tiny_run.batches(0))
    flops, voxels = flops_of_parts(tiny_run, batch), len(batch.voxels.features)
    heads = [tiny_run.method.student_head.linear, tiny_run.method.teacher_head.conv]
    superpixels = flops["heads"] / 2 - voxels * heads[0].weight.numel()
    assert superpixels > 0
    assert superpixels % heads[1].weight.numel() == 0
    assert flops["student"] > 2 * voxels * 48 * 32  # the first of the projections


def test_flops_of_sparse_convolutions():
    coords = torch.cartesian_prod(torch.zeros(1), *[torch.arange(4.0)] * 3).int()
    block = coords[(coords[:, 1:] < 3).all(1)]
    net = torch.nn.Sequential(
        SubMConv3d(3, 5, 3, indice_key="a"),
        SparseConv3d(5, 6, 2, 2, indice_key="d"),
        SparseInverseConv3d(6, 7, 2, indice_key="d"),
    )
    with _sparse_flops(net) as flops:
        net(sparse(torch.ones(27, 3), block, (4, 4, 4), 1))
    assert flops == [2 * CONV_PAIRS * 15, 2 * 27 * 30, 2 * 27 * 42]
    net(sparse(torch.ones(27, 3), block, (4, 4, 4), 1))
    assert len(flops) == 3


def test_bytes_of_optimiser_and_pooling(tiny_run):
    weights = sum(p.numel() for p in tiny_run.method.parameters() if p.requires_grad)
    optimizer = tiny_run.optimizer()
    batch = one_step(tiny_run, tiny_run.batches(0), optimizer, 0, Parts(Clock()))
    found = bytes_of_parts(tiny_run, batch, optimizer)
    assert found["optimiser"] == 4 * 7 * weights  # AdamW has two states
    pairs, superpixels = len(batch.pairing_points), len(batch.superpixels) * batch.num_superpixels
    # Of the student: 64 channels of each voxel; a row, an id and a mask for each pair; means and counts in float32 come out.
    voxels = len(batch.voxels.features)
    assert found["pooling"] == voxels * 4 * 64 + pairs * (8 + 8 + 1) + superpixels * (4 * 64 + 4)


def test_the_verb(tiny_world, tmp_path, monkeypatch):
    monkeypatch.setattr("lidardistill.bench.profile.floors.GEMM_SIZE", {"cpu": 64})
    monkeypatch.setattr("lidardistill.bench.profile.floors.COPY_BYTES", {"cpu": 2**16})
    monkeypatch.setattr("lidardistill.bench.profile.step.WARM_UP", 1)
    trace = tmp_path / "new" / "trace.json"
    words = [
        "profile",
        DEMO,
        *overrides(tiny_world, tmp_path),
        "method.normalize=pixel",
        "teacher_cache=null",
    ]
    result = CliRunner().invoke(app, [*map(str, words), "--out", str(trace), "--steps", "2"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    for name in (
        "teacher",
        "student: convolutions",
        "pooling",
        "backward",
        "decode images",
        "voxelise",
        "superpixels",
    ):
        assert any(line.strip().startswith(name) for line in lines), result.output
    convolutions = next(line.split() for line in lines if line.startswith("student: convolutions"))
    assert float(convolutions[-3]) > 0  # its floor
    assert max(map(len, lines)) <= max(100, len(str(trace)) + 70)
    events = json.loads(trace.read_text())["traceEvents"]
    assert set(ORDER) - NOT_OF_MINKUNET <= {event.get("name") for event in events}
    assert not list(tmp_path.glob("**/backbone*"))


def test_the_verb_knows_calico(tiny_world, tmp_path, monkeypatch):
    monkeypatch.setattr("lidardistill.bench.profile.floors.GEMM_SIZE", {"cpu": 64})
    monkeypatch.setattr("lidardistill.bench.profile.floors.COPY_BYTES", {"cpu": 2**16})
    monkeypatch.setattr("lidardistill.bench.profile.step.WARM_UP", 1)
    recipe = Path(DEMO).parent / "demo_calico_prc.yaml"
    words = [
        "profile",
        recipe,
        f"data.dataroot={tiny_world}",
        "--out",
        tmp_path / "trace.json",
        "--steps",
        "1",
    ]
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 0, result.output
    lines = [line.strip() for line in result.output.splitlines()]
    for name in (
        DENSE,
        "student: convolutions",
        "heads",
        "pooling",
        "loss",
        "regions",
        "voxelise",
        "draw points",
    ):
        assert any(line.startswith(name) for line in lines), result.output
    floor = next(line.split() for line in lines if line.startswith(DENSE))[-3]
    assert float(floor) > 0


OTHERS = {
    "demo_bevcontrast": ("student: convolutions", "pooling", "loss", "voxelise"),
    "demo_calico_rad": (
        "teacher", DENSE, "student: lift and splat", "pooling", "loss", "decode images", "regions", "project points",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(OTHERS))
def test_the_verb_knows_every_method(name, tiny_world, tmp_path, monkeypatch):
    monkeypatch.setattr("lidardistill.bench.profile.floors.GEMM_SIZE", {"cpu": 64})
    monkeypatch.setattr("lidardistill.bench.profile.floors.COPY_BYTES", {"cpu": 2**16})
    monkeypatch.setattr("lidardistill.bench.profile.step.WARM_UP", 1)
    words = ["profile", Path(DEMO).parent / f"{name}.yaml", f"data.dataroot={tiny_world}"]
    own = {"demo_bevcontrast": "method.stride=1", "demo_calico_rad": "method.lidar_weights=random"}[name]
    words += [own, "--out", tmp_path / "trace.json", "--steps", "1"]
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 0, result.output
    lines = [line.strip() for line in result.output.splitlines()]
    for part in OTHERS[name]:
        assert any(line.startswith(part) for line in lines), (part, result.output)
    for part in {"teacher", "student: convolutions"} & set(OTHERS[name]):
        assert float(next(line.split() for line in lines if line.startswith(part))[-3]) > 0  # its floor


def test_a_method_of_unknown_parts_is_named():
    with pytest.raises(ValueError, match="Linear"), measured(torch.nn.Linear(1, 1), Parts(Clock())):
        pass


def test_the_table_adds_up():
    figures = {
        "step": {"median_ms": 10.0, "iqr_ms": 1.0},
        "parts": {
            "forward": {"median_ms": 4.0, "iqr_ms": 0.5, "floor_ms": 2.0, "held_mb": 3.0},
            "loss": {"median_ms": 6.0, "iqr_ms": 0.5},
        },
        "loading": {}, "num_workers": 2, "rates": {"gflops": 100.0, "copy_gb_s": 10.0}, "peak_mb": 5.0,
        "device": "cpu", "threads": 1, "precision": "fp32", "batch_size": 1, "trace": "t.json",
    }  # fmt: skip
    lines = [" ".join(line.split()) for line in table(figures)]
    assert "rest of the forward pass 4.00 0.50 40.0% 2.00 2.0 3.0" in lines
    assert "loss 6.00 0.50 60.0% - - -" in lines
