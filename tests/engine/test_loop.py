import json
import logging
import os
import signal
import time
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import nn

from lidardistill.data.quarantine import Quarantine
from lidardistill.engine import signals
from lidardistill.engine.checkpoint import latest_checkpoint, load_checkpoint
from lidardistill.engine.config import TrainerConfig
from lidardistill.engine.distributed import make_fabric
from lidardistill.engine.logging import RunLogger, read_metrics
from lidardistill.engine.loop import run_loop
from lidardistill.engine.optim import make_optimizer
from lidardistill.engine.terms import Terms
from tests.support.loops import Batch, Net, batches, training_of


def train(
    folder, trainer, *, net=None, source=batches, change=None, lr=0.1, quarantine=None, on_log=(), **options
):
    net = net or Net()

    def terms(batch, number, diagnose):
        loss = net(batch.x)
        if change is not None:
            loss = change(loss, number)
        return Terms(loss, {"part": loss.detach()}, {"rows": len(batch.x)}, {"top1": loss.detach() * 0 + 0.5})

    optimizer = make_optimizer("sgd", net, lr=lr)
    training = training_of(net, trainer, source, terms, optimizer=optimizer, **options)
    return run_loop(training, folder, RunLogger(folder, progress=False), quarantine, on_log=on_log)


def test_metrics_checkpoints_and_callbacks(tmp_path):
    seen = []
    settings = TrainerConfig(max_steps=7, log_every=3, checkpoint_every=3, keep_checkpoints=9, ema_decay=0.9)
    result = train(tmp_path, settings, lr=1e-3, on_log=[lambda step, values: seen.append((step, values))])
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 3, 6, 7]
    assert [step for step, _ in seen] == [1, 3, 6, 7]
    assert seen[-1][1]["loss"] == lines[-1]["loss"] == lines[-1]["loss/part"]
    assert lines[-1]["count/rows"] == 4
    assert lines[-1]["top1"] == 0.5
    assert lines[-1]["lr"] == 1e-3
    assert lines[-1]["loss_window"] == lines[-1]["loss"]  # one step since step 6
    assert sorted(p.name for p in (tmp_path / "checkpoints").glob("*.pt")) == [
        "step-00000003.pt",
        "step-00000006.pt",
        "step-00000007.pt",
    ]
    assert (result.steps, result.exit_code, result.nonfinite) == (7, 0, 0)
    assert result.metrics == lines[-1]
    assert 0 <= result.data_wait_seconds <= result.seconds
    assert result.ema.num_updates == 7
    loop = training_of(Net(), settings)
    assert [step for step in range(7) if loop.is_logged(step)] == [0, 2, 5, 6]


def test_the_loss_falls_and_a_finished_run_returns_at_once(tmp_path):
    settings = TrainerConfig(max_steps=40, log_every=10)
    first = train(tmp_path, settings, lr=0.02)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert lines[-1]["loss_window"] < 0.5 * lines[0]["loss"]

    def no_batches(first):
        raise AssertionError("a finished run reads nothing")

    again = train(tmp_path, settings, source=no_batches, lr=0.02)
    assert again.steps == 40
    assert again.metrics == first.metrics


def test_the_start_of_the_workers_is_no_slow_loader(tmp_path):
    """The first wait counts in the record, and not in what the progress line and its advice go by."""

    def slow_start(first):
        time.sleep(0.5)
        yield from batches(first)

    class Shares(RunLogger):
        seen: ClassVar[list[float]] = []

        def advance(self, step, data_wait_share):
            self.seen.append(data_wait_share)

    training = training_of(Net(), TrainerConfig(max_steps=4, log_every=1), slow_start)
    run_loop(training, tmp_path, Shares(tmp_path, progress=False))
    recorded = read_metrics(tmp_path / "metrics.jsonl")
    assert recorded[0]["data_wait_share"] > 0.5
    assert Shares.seen[0] == 0.0
    assert max(Shares.seen) < recorded[-1]["data_wait_share"]


def test_accumulating_equal_batches_is_one_batch_of_all(tmp_path):
    class Linear(nn.Module):  # BatchNorm would see the difference
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            return self.layer(x).square().mean()

    def joined(first):
        source = batches(2 * first)
        while True:
            yield Batch(torch.cat([next(source).x, next(source).x]))

    nets = Linear(), Linear()
    settings = TrainerConfig(max_steps=5, log_every=1, clip_norm=0.5)
    train(tmp_path / "a", settings.model_copy(update={"accumulate": 2}), net=nets[0])
    train(tmp_path / "b", settings, net=nets[1], source=joined)
    torch.testing.assert_close(nets[0].layer.weight, nets[1].layer.weight)
    losses = [[line["loss"] for line in read_metrics(tmp_path / name / "metrics.jsonl")] for name in "ab"]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_accumulation_continues_at_the_right_batch(tmp_path):
    firsts = []

    def remember(first):
        firsts.append(first)
        return batches(first)

    settings = TrainerConfig(max_steps=3, accumulate=4, log_every=1)
    train(tmp_path, settings, source=remember)
    train(tmp_path, settings.model_copy(update={"max_steps": 5}), source=remember)
    assert firsts == [0, 12]


def test_clipping_bounds_the_step(tmp_path):
    net = Net()
    before = torch.cat([p.detach().clone().flatten() for p in net.parameters()])
    result = train(tmp_path, TrainerConfig(max_steps=1, clip_norm=0.01), net=net, lr=1.0)
    after = torch.cat([p.detach().flatten() for p in net.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.01, rel=1e-3)
    assert result.metrics["grad_norm"] > 0.1  # before clipping


def nan_at(*steps):
    return lambda loss, number: loss * torch.nan if number in steps else loss


def test_a_step_that_is_not_finite_leaves_no_trace(tmp_path, caplog):
    spoiled, clean = Net(), Net()
    settings = TrainerConfig(max_steps=4, log_every=1)

    def with_bad_input(first):
        for number, batch in enumerate(batches(first), start=first):
            yield replace(batch, x=batch.x * torch.nan) if number == 1 else batch

    def without(first):
        yield from (batch for number, batch in enumerate(batches(0)) if number != 1)

    with caplog.at_level(logging.WARNING):
        result = train(tmp_path / "a", settings, net=spoiled, source=with_bad_input)
    train(tmp_path / "b", settings.model_copy(update={"max_steps": 3}), net=clean, source=without)
    assert result.nonfinite == 1
    assert "token-1" in caplog.text
    for name, value in spoiled.state_dict().items():
        assert torch.equal(value, clean.state_dict()[name]), name
    lines = read_metrics(tmp_path / "a" / "metrics.jsonl")
    assert [line["loss"] is None for line in lines] == [False, True, False, False]
    assert [line["nonfinite"] for line in lines] == [0, 1, 1, 1]


def test_a_finite_loss_with_an_infinite_gradient_is_skipped(tmp_path):
    def infinite_gradient(loss, number):
        return loss + (loss * 0).sqrt() if number == 1 else loss

    result = train(tmp_path, TrainerConfig(max_steps=3, log_every=1), change=infinite_gradient)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert result.nonfinite == 1
    assert lines[1]["loss"] is not None
    assert lines[1]["grad_norm"] is None


def test_k_in_a_row_stop_the_run_with_the_tokens(tmp_path):
    settings = TrainerConfig(max_steps=9, log_every=1, max_nonfinite=2, checkpoint_every=1)
    with pytest.raises(RuntimeError, match=r"2 steps in a row .* token-4") as caught:
        train(tmp_path, settings, change=nan_at(1, 3, 4))
    assert "token-1" not in str(caught.value)
    assert json.loads((tmp_path / "nonfinite.json").read_text())["sample_tokens"] == ["token-4"]
    assert load_checkpoint(latest_checkpoint(tmp_path / "checkpoints"))["step"] == 4


def test_substitutes_reach_the_quarantine(tmp_path):
    def replaced(first):
        for batch in batches(first):
            yield replace(batch, substitutes=(("bad", "truncated: bad.bin"),))

    quarantine = Quarantine(tmp_path / "quarantine.json", budget=3)
    train(tmp_path, TrainerConfig(max_steps=2), source=replaced, quarantine=quarantine)
    assert [(e.token, e.reason) for e in quarantine.entries] == [("bad", "truncated: bad.bin")]
    with pytest.raises(RuntimeError, match="budget"):
        train(
            tmp_path / "b",
            TrainerConfig(max_steps=2),
            source=replaced,
            quarantine=Quarantine(tmp_path / "q2.json", budget=0),
        )


def test_another_config_or_model_is_refused(tmp_path):
    settings = TrainerConfig(max_steps=2)
    train(tmp_path, settings, config={"seed": 0, "workers": 1})
    train(tmp_path, settings, config={"seed": 0, "workers": 2}, may_differ=("workers",))
    with pytest.raises(ValueError, match="seed: was 0, now 1"):
        train(tmp_path, settings, config={"seed": 1, "workers": 1})
    other = Net()
    other.more = nn.Linear(1, 1)
    with pytest.raises(ValueError, match=r"another model.*more\.bias"):
        train(tmp_path, settings, net=other, config={"seed": 0, "workers": 1})


def test_bf16_trains_float32_weights(tmp_path):
    net = Net()
    result = train(tmp_path, TrainerConfig(max_steps=3, precision="bf16"), net=net)
    assert result.steps == 3
    assert net.layer.weight.dtype == torch.float32


def test_a_frozen_teacher_is_not_in_the_checkpoint(tmp_path):
    net = Net()
    net.teacher = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).requires_grad_(False).eval()
    train(tmp_path, TrainerConfig(max_steps=1), net=net)
    names = load_checkpoint(latest_checkpoint(tmp_path / "checkpoints"))["state"]["model"].keys()
    assert "norm.running_mean" in names
    assert not [name for name in names if name.startswith("teacher")]


def test_without_a_moving_average_then_with_one_is_another_run(tmp_path):
    train(tmp_path, TrainerConfig(max_steps=1))
    with pytest.raises(ValueError, match="moving average"):
        train(tmp_path, TrainerConfig(max_steps=2, ema_decay=0.9))


def float16_on_cpu():
    """Fabric with autocast to float16 and a gradient scaler, which make_fabric only gives on a GPU."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision

    return Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", device="cpu"))


def train_float16(folder, fabric, net, trainer, spoiled=()):
    def terms(batch, number, diagnose):
        return Terms(net(batch.x).float() * (torch.nan if number in spoiled else 10.0))

    optimizer = make_optimizer("sgd", net, lr=1e-4)
    training = training_of(net, trainer, batches, terms, fabric=fabric, optimizer=optimizer)
    return run_loop(training, folder, RunLogger(folder, progress=False))


def test_fp16_finds_its_scale_and_keeps_it_in_the_checkpoint(tmp_path):
    """65536 times these gradients overflows float16: the scale comes down and no step counts as diverged."""
    net = Net()
    result = train_float16(tmp_path, float16_on_cpu(), net, TrainerConfig(max_steps=20, max_nonfinite=1))
    assert (result.steps, result.nonfinite) == (20, 0)
    content = load_checkpoint(latest_checkpoint(tmp_path / "checkpoints"))["state"]
    assert 1 < content["scaler"]["scale"] < 65536
    assert 0 < content["progress"]["overflows"] < 20
    fabric = float16_on_cpu()
    train_float16(tmp_path, fabric, Net(), TrainerConfig(max_steps=21))
    assert fabric.strategy.precision.scaler.get_scale() == content["scaler"]["scale"]


def test_fp16_with_a_loss_that_is_not_finite_counts(tmp_path):
    with pytest.raises(RuntimeError, match="2 steps in a row"):
        train_float16(
            tmp_path, float16_on_cpu(), Net(), TrainerConfig(max_steps=9, max_nonfinite=2), spoiled=(5, 6)
        )


@pytest.mark.gpu
def test_fp16_and_bf16_on_a_gpu(tmp_path, device):
    for precision in ("fp16", "bf16"):
        fabric = make_fabric("cuda", precision=precision)
        result = train_float16(tmp_path / precision, fabric, Net().to(device), TrainerConfig(max_steps=20))
        assert (result.steps, result.nonfinite) == (20, 0)


def test_only_steps_with_a_gradient_have_learnt_and_the_count_is_resumed(tmp_path):
    """A loss without a gradient is no learning, and a run that is resumed at its end still knows."""
    settings = TrainerConfig(max_steps=4)
    flat = train(tmp_path / "flat", settings, change=lambda loss, number: loss * 0)
    assert (flat.learnt, flat.nonfinite) == (0, 0)
    assert train(tmp_path / "flat", settings, change=lambda loss, number: loss * 0).learnt == 0
    mixed = train(tmp_path / "mixed", settings, change=lambda loss, number: loss * (number > 0))
    assert mixed.learnt == 3
    assert train(tmp_path / "mixed", settings).learnt == 3
    skipped = train(tmp_path / "nan", settings, change=nan_at(0, 1, 2, 3))
    assert (skipped.learnt, skipped.nonfinite) == (0, 4)


@pytest.mark.parametrize("hang_at", [0, 3, 4])
def test_a_signal_ends_a_wait_without_end_and_nothing_is_lost(tmp_path, monkeypatch, hang_at):
    """The loader hangs at a batch of a step (two a step): the step before it is saved and goes on bit for
    bit."""
    monkeypatch.setattr(signals, "GRACE_S", 0.05)
    settings = TrainerConfig(max_steps=4, accumulate=2, log_every=1)

    class Noisy(Net):
        def forward(self, x):
            return super().forward(torch.nn.functional.dropout(x, 0.5))

    def hanging(first):
        for number, batch in enumerate(batches(first), start=first):
            if number == hang_at:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)
            yield batch

    nets = Noisy(), Noisy(), Noisy()
    torch.manual_seed(1)
    whole = train(tmp_path / "whole", settings, net=nets[0], lr=1e-2)
    torch.manual_seed(1)
    stopped = train(tmp_path / "run", settings, net=nets[1], source=hanging, lr=1e-2)
    assert (stopped.interrupted, stopped.steps) == (True, hang_at // 2)
    again = train(tmp_path / "run", settings, net=nets[2], lr=1e-2)
    assert again.metrics["loss"] == whole.metrics["loss"]
    for name, value in nets[2].state_dict().items():
        assert torch.equal(value, nets[0].state_dict()[name]), name
