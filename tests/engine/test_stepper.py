"""A step is decided on the device and read one step later."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lidardistill.engine.config import TrainerConfig
from lidardistill.engine.distributed import make_fabric
from lidardistill.engine.logging import RunLogger
from lidardistill.engine.loop import run_loop
from lidardistill.engine.optim import EMA, make_optimizer
from lidardistill.engine.prefetch import Prefetcher
from lidardistill.engine.signals import StopSignal
from lidardistill.engine.stepper import Stepper
from lidardistill.engine.terms import Terms
from tests.support.loops import Net, batches, training_of


def spoiled(*numbers):
    """Batches whose input is NaN at these numbers."""

    def source(first):
        for number, batch in enumerate(batches(first), start=first):
            yield replace(batch, x=batch.x * torch.nan) if number in numbers else batch

    return source


def without(*numbers):
    def source(first):
        yield from (batch for number, batch in enumerate(batches(0)) if number not in numbers)

    return source


def train(folder, net, source, steps, kind):
    trainer = TrainerConfig(max_steps=steps, log_every=100, ema_decay=0.9)
    training = training_of(net, trainer, source, optimizer=make_optimizer(kind, net, lr=1e-2))
    return run_loop(training, folder, RunLogger(folder, progress=False))


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("numbers", [(0,), (0, 1), (0, 2), (3,), (4, 5)])
def test_skipped_steps_leave_no_trace_wherever_they_are(tmp_path, kind, numbers):
    """Weights, statistics and moving average are those of a run without them, though nobody waited to see."""
    one, other = Net(), Net()
    a = train(tmp_path / "a", one, spoiled(*numbers), 9, kind)
    b = train(tmp_path / "b", other, without(*numbers), 9 - len(numbers), kind)
    assert (a.nonfinite, b.nonfinite) == (len(numbers), 0)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    # The decay at the beginning counts steps, and one that is skipped is known to be none a step later.
    assert a.ema.num_updates == b.ema.num_updates
    for name, value in a.ema.average.items():
        torch.testing.assert_close(value, b.ema.average[name], rtol=0, atol=2e-2)


def test_a_step_asks_the_device_for_nothing(monkeypatch):
    net = Net()
    stepper = a_stepper(net, "cpu")
    stop = StopSignal()

    def refuse(self, *args):
        raise AssertionError("the host waits for the device here")

    source = Prefetcher(batches(0), torch.device("cpu"))
    stepper.step(source, 0, stop)
    for name in ("item", "tolist", "numpy", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(Tensor, name, refuse)
    record = stepper.step(source, 1, stop)
    monkeypatch.undo()
    source.close()
    assert record.read().taken


@pytest.mark.gpu
def test_a_step_does_not_wait_for_a_gpu(device):
    net = Net().to(device)
    stepper = a_stepper(net, "cuda")
    source = Prefetcher(batches(0), device)
    stop = StopSignal()
    records = [stepper.step(source, 0, stop)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        records += [stepper.step(source, step, stop) for step in (1, 2)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
        source.close()
    assert all(record.read().taken for record in records)


def a_stepper(net, accelerator):
    return Stepper(
        make_fabric(accelerator, precision="fp32"),
        lambda batch, step: Terms(net(batch.x)),
        net,
        make_optimizer("sgd", net, lr=1e-3),
        None,
        accumulate=1,
        clip_norm=1.0,
        ema=EMA(net, 0.9),
        quarantine=None,
    )
