"""`profile`: parts add up, floors are counted right, the trace opens, every method is covered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from lidardistill.bench.profile.floors import _FlopMeter, bytes_of_parts, flops_of_parts
from lidardistill.bench.profile.parts import Parts, in_tree_order
from lidardistill.bench.profile.run import table
from lidardistill.bench.profile.steps import STEP, steps_of
from lidardistill.cli.main import app
from lidardistill.config.io import load_config
from lidardistill.spans import span, spanned, watching
from lidardistill.sparse.sparse import SparseConv3d, SparseInverseConv3d, SubMConv3d, sparse
from lidardistill.tasks.pretrain.config import PretrainConfig
from tests.cli.test_main import DEMO

CONV_PAIRS = 7**3  # of a full 3 x 3 x 3 block under a 3 x 3 x 3 kernel: 7 pairs along each axis


class Counter:
    """A meter that the test sets."""

    value = 0

    def mark(self):
        return self.value

    def between(self, start, end):
        return float(end - start)

    def count_flops(self, flops):
        pass


def overrides(world, tmp_path):
    return [
        f"data.dataroot={world}",
        f"data.superpixels.cache={tmp_path / 'superpixels'}",
        f"teacher_cache={tmp_path / 'teacher'}",
        "data.augment.image_size=[32,64]",
    ]


@pytest.fixture
def tiny_steps(tiny_world, tmp_path):
    with steps_of(load_config(PretrainConfig, DEMO, overrides(tiny_world, tmp_path))) as steps:
        yield steps


def test_a_part_does_not_count_the_parts_inside():
    meter = Counter()
    parts = Parts(meter)
    with watching(parts):
        for _ in range(2):
            with span("outer"):
                meter.value += 1
                with span("inner"):
                    meter.value += 10
                meter.value += 2
    assert parts.take() == {"outer": 6.0, "outer/inner": 20.0}
    assert parts.take() == {}


def test_a_span_inside_one_of_its_name_is_the_same_part():
    meter = Counter()

    @spanned("pooling")
    def pool(depth):
        meter.value += 1
        return pool(depth - 1) if depth else meter.value

    parts = Parts(meter, undivided=["data wait"])
    with watching(parts):
        assert pool(2) == 3
        with span("data wait"), span("decode images"):
            meter.value += 5
    assert parts.take() == {"pooling": 3.0, "data wait": 5.0}


def test_a_part_that_raises_ends():
    parts = Parts(Counter())
    with watching(parts):
        with pytest.raises(ValueError, match="no"), span("outer"), span("inner"):
            raise ValueError("no")
        with span("next"):
            pass
    assert parts.take() == {"outer": 0.0, "outer/inner": 0.0, "next": 0.0}


def test_parts_stand_before_the_parts_inside_them():
    found = ["a", "a/x", "b", "a/y", "a/x/deep", "b/z"]
    assert in_tree_order(found) == ["a", "a/x", "a/x/deep", "a/y", "b", "b/z"]


def test_torchs_own_profiler_sees_the_spans():
    with torch.profiler.profile() as profiler, span("outer"):
        torch.ones(3).sum()
    assert "outer" in {event.key for event in profiler.key_averages()}
    with span("unwatched"):
        pass


def test_a_step_has_all_its_parts(tiny_steps):
    found = tiny_steps.take()
    top = [part for part in found if "/" not in part]
    assert top == ["data wait", "to device", "forward", "backward", "average gradients", "optimizer", STEP]
    inside = {
        "backbone",
        "backbone/convolutions",
        "backbone/convolutions/index pairs",
        "heads",
        "pooling",
        "loss",
    }
    assert inside <= {part.removeprefix("forward/") for part in found}
    assert not any("teacher" in part for part in found)  # the demo's teacher is cached
    assert all(time_ms >= 0 for time_ms in found.values())


def test_the_steps_are_those_of_the_loop(tiny_steps):
    """They move the weights, and the loop's record has their loss."""
    before = [p.detach().clone() for p in tiny_steps.training.model.parameters() if p.requires_grad]
    record = next(tiny_steps.running)
    after = [p for p in tiny_steps.training.model.parameters() if p.requires_grad]
    assert record.read().taken
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_flops_of_the_linear_layers_over_voxels(tiny_steps):
    """Torch does not see their products where they run; they are counted all the same."""
    tiny_steps.take()
    batch, method = tiny_steps.batch, tiny_steps.training.model
    flops, voxels = flops_of_parts(tiny_steps.training, batch), len(batch.voxels.features)
    heads = [method.student_head.linear, method.teacher_head.conv]
    superpixels = flops["forward/heads"] / 2 - voxels * heads[0].weight.numel()
    assert superpixels > 0
    assert superpixels % heads[1].weight.numel() == 0
    assert flops["forward/backbone"] > 2 * voxels * 48 * 32  # the first of the projections
    assert flops["backward"] == 2 * sum(n for part, n in flops.items() if part != "backward")


def test_flops_of_sparse_convolutions():
    coords = torch.cartesian_prod(torch.zeros(1), *[torch.arange(4.0)] * 3).int()
    block = coords[(coords[:, 1:] < 3).all(1)]
    net = torch.nn.Sequential(
        SubMConv3d(3, 5, 3, indice_key="a"),
        SparseConv3d(5, 6, 2, 2, indice_key="d"),
        SparseInverseConv3d(6, 7, 2, indice_key="d"),
    )
    x = sparse(torch.ones(27, 3), block, (4, 4, 4), 1)
    flops = []
    for layer in net:
        parts = Parts(_FlopMeter())
        with torch.no_grad(), watching(parts):
            x = layer(x)
        flops.append(parts.take()["convolutions"])
    assert flops == [2 * CONV_PAIRS * 15, 2 * 27 * 30, 2 * 27 * 42]


def test_bytes_of_optimizer_and_pooling(tiny_steps):
    tiny_steps.take()
    batch = tiny_steps.batch
    weights = sum(p.numel() for p in tiny_steps.training.model.parameters() if p.requires_grad)
    found = bytes_of_parts(tiny_steps.training, batch)
    assert found["optimizer"] == 4 * 7 * weights  # AdamW has two states
    pairs, superpixels = len(batch.pairing_points), len(batch.superpixels) * batch.num_superpixels
    # In: 64 channels of each voxel; row, id and mask of each pair. Out: means and counts in float32.
    voxels = len(batch.voxels.features)
    wanted = voxels * 4 * 64 + pairs * (8 + 8 + 1) + superpixels * (4 * 64 + 4)
    assert found["forward/pooling"] == wanted


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("lidardistill.bench.profile.floors.GEMM_SIZE", {"cpu": 64})
    monkeypatch.setattr("lidardistill.bench.profile.floors.COPY_BYTES", {"cpu": 2**16})
    monkeypatch.setattr("lidardistill.bench.profile.run.WARM_UP", 1)


def profiled(tmp_path, *words):
    """Lines that the command prints, and the names in its trace."""
    trace = tmp_path / "new" / "trace.json"
    result = CliRunner().invoke(app, ["profile", *map(str, words), "--out", str(trace), "--steps", "1"])
    assert result.exit_code == 0, result.output
    events = json.loads(trace.read_text())["traceEvents"]
    return result.output.splitlines(), {event.get("name") for event in events}


def floor_of(lines, part):
    return float(next(line.split() for line in lines if line.strip().startswith(part))[-3])


def test_the_verb(tiny_world, tmp_path, quick):
    words = [DEMO, *overrides(tiny_world, tmp_path), "method.normalize=pixel", "teacher_cache=null"]
    lines, names = profiled(tmp_path, *words)
    for part in (
        "teacher",
        "convolutions",
        "pooling",
        "backward",
        "decode images",
        "voxelize",
        "superpixels",
    ):
        assert any(line.strip().startswith(part) for line in lines), "\n".join([part, *lines])
    assert floor_of(lines, "convolutions") > 0
    assert max(map(len, lines[:-1])) <= 100
    assert {"step/forward", "step/forward/backbone/convolutions", "step/backward"} <= names
    assert not list(tmp_path.glob("**/backbone*"))


OTHERS = {
    "demo_bevcontrast": (["method.stride=1"], ("convolutions", "pooling", "loss", "voxelize")),
    "demo_calico_prc": (
        [],
        (
            "dense convolutions",
            "convolutions",
            "heads",
            "pooling",
            "loss",
            "regions",
            "voxelize",
            "draw points",
        ),
    ),
    "demo_calico_rad": (
        ["method.lidar_weights=random"],
        (
            "teacher",
            "dense convolutions",
            "lift and splat",
            "pooling",
            "loss",
            "decode images",
            "project points",
        ),
    ),
}


@pytest.mark.parametrize("name", list(OTHERS))
def test_the_verb_covers_every_method(name, tiny_world, tmp_path, quick):
    own, parts = OTHERS[name]
    lines, _ = profiled(tmp_path, Path(DEMO).parent / f"{name}.yaml", f"data.dataroot={tiny_world}", *own)
    for part in parts:
        assert any(line.strip().startswith(part) for line in lines), "\n".join([part, *lines])
    for part in {"convolutions", "dense convolutions"} & set(parts):
        assert floor_of(lines, part) > 0


def test_the_table_adds_up():
    figures = {
        "step": {"median_ms": 10.0, "iqr_ms": 1.0},
        "parts": {
            "forward": {"median_ms": 4.0, "iqr_ms": 0.5, "floor_ms": 2.0, "held_mb": 3.0},
            "forward/loss": {"median_ms": 6.0, "iqr_ms": 0.5},
        },
        "loading": {}, "num_workers": 2, "rates": {"gflops": 100.0, "copy_gb_s": 10.0}, "peak_mb": 5.0,
        "device": "cpu", "threads": 1, "precision": "fp32", "batch_size": 1, "trace": "t.json",
    }  # fmt: skip
    lines = [" ".join(line.split()) for line in table(figures)]
    assert "forward 4.00 0.50 40.0% 2.00 2.0 3.0" in lines
    assert "loss 6.00 0.50 60.0% - - -" in lines
