import math

import pytest
import torch
from torch import nn

from lidardistill.engine.optim import EMA, make_optimizer, make_schedule


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_sgd_with_dampening_is_slidrs_step():
    weight = nn.Parameter(torch.tensor([1.0]))
    optimizer = make_optimizer("sgd", [weight], lr=0.5, momentum=0.9, dampening=0.1, weight_decay=0.01)
    expected, buffer = 1.0, None
    for gradient in (1.0, -2.0, 0.5):
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        total = gradient + 0.01 * expected
        buffer = total if buffer is None else 0.9 * buffer + 0.9 * total  # the first step is not dampened
        expected -= 0.5 * buffer
    assert weight.item() == pytest.approx(expected, abs=1e-6)


def test_groups_keep_their_rates_and_what_is_frozen_is_left_out():
    net = model()
    net[0].weight.requires_grad_(False)
    groups = [{"params": net[:2].parameters()}, {"params": net[2].parameters(), "lr": 1.0}]
    optimizer = make_optimizer("adamw", groups, lr=0.1, weight_decay=0.5)
    found = [(g["lr"], g["weight_decay"], [p.ndim for p in g["params"]]) for g in optimizer.param_groups]
    assert found == [(0.1, 0.5, [1, 1, 1]), (1.0, 0.5, [2, 1])]
    assert isinstance(optimizer, torch.optim.AdamW)
    everything = make_optimizer("sgd", model(), lr=0.1, weight_decay=0.5)
    assert [g["weight_decay"] for g in everything.param_groups] == [0.5]
    assert len(everything.param_groups[0]["params"]) == 6


def test_errors_of_the_optimiser():
    with pytest.raises(ValueError, match="sgd or adamw"):
        make_optimizer("adam", model(), lr=0.1)
    with pytest.raises(ValueError, match="nothing to train"):
        make_optimizer("sgd", model().requires_grad_(False), lr=0.1)
    with pytest.raises(ValueError, match=r"optimizer\.lr"):
        make_optimizer("sgd", model(), lr=0.0)


def rates(schedule, steps, lr=0.5):
    optimizer = make_optimizer("sgd", [nn.Parameter(torch.zeros(1))], lr=lr)
    return [schedule.apply(optimizer, step) for step in range(steps)]


def test_cosine_per_epoch_is_torchs():
    found = rates(make_schedule("cosine", total_steps=12, steps_per_epoch=3), 12)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    expected = []
    for _ in range(4):
        expected += [optimizer.param_groups[0]["lr"]] * 3
        optimizer.step()
        reference.step()
    assert found == pytest.approx(expected)


def test_an_epoch_need_not_be_a_whole_number_of_steps():
    found = rates(make_schedule("cosine", total_steps=8, steps_per_epoch=2.5), 8, lr=1.0)
    assert found == pytest.approx([1.0] * 3 + [0.75] * 2 + [0.25] * 3)


def test_cosine_per_step_with_warm_up():
    found = rates(make_schedule("cosine", per="step", total_steps=10, warmup_steps=4), 11, lr=1.0)
    assert found[:4] == [0.25, 0.5, 0.75, 1.0]
    assert found[4:10] == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 6)) for k in range(6)])
    assert found[10] == 0.0
    assert rates(make_schedule("cosine", per="step", total_steps=4), 1, lr=1.0) == [1.0]


def test_warm_cosine_rises_from_zero_and_ends_above_it():
    share = make_schedule("warm_cosine", total_steps=200, warmup_share=0.05, final_share=0.01).share
    assert [share(step) for step in (0, 5, 10)] == pytest.approx([0.0, 0.5, 1.0])
    assert share(105) == pytest.approx(0.01 + 0.99 * 0.5)
    assert share(200) == pytest.approx(0.01)
    assert share(199) > 0.01


@pytest.mark.parametrize("total", [1, 2, 10, 101])
def test_one_cycle_is_torchs(total):
    found = rates(make_schedule("one_cycle", total_steps=total, warmup_share=0.3), total)
    assert all(math.isfinite(rate) for rate in found)
    if total < 10:  # torch divides by zero
        return
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5, momentum=0.9)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=total, pct_start=0.3)
    expected = []
    for _ in range(total):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < total:
            reference.step()
    assert found == pytest.approx(expected)


def test_a_schedule_has_no_memory_and_every_group_keeps_its_share():
    schedule = make_schedule("cosine", per="step", total_steps=10)
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1.0, 0.1)]
    optimizer = make_optimizer("sgd", groups, lr=1.0)
    for step in (7, 2, 2):
        schedule.apply(optimizer, step)
    share = 0.5 * (1 + math.cos(math.pi * 0.2))
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([share, 0.1 * share])
    assert rates(make_schedule("constant", total_steps=3), 3) == [0.5] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "linear", "total_steps": 5}, "cosine"),
        ({"kind": "cosine", "total_steps": 5, "per": "year"}, "year"),
        ({"kind": "cosine", "total_steps": 0, "steps_per_epoch": 1}, "total_steps"),
        ({"kind": "cosine", "total_steps": 5}, "steps_per_epoch"),
        ({"kind": "cosine", "total_steps": 5, "steps_per_epoch": 2, "warmup_steps": 1}, "per: step"),
        ({"kind": "cosine", "total_steps": 5, "per": "step", "warmup_steps": 5}, r"0\.\.4"),
        ({"kind": "one_cycle", "total_steps": 5, "warmup_share": 1.0}, "warmup_share"),
        ({"kind": "warm_cosine", "total_steps": 5, "warmup_share": 0.0}, "warmup_share"),
        ({"kind": "warm_cosine", "total_steps": 5, "final_share": 2.0}, "final_share"),
    ],
)
def test_errors_of_the_schedule(options, message):
    with pytest.raises(ValueError, match=message):
        make_schedule(**options)


def test_ema_follows_what_trains_and_comes_back():
    net = model()
    net[0].requires_grad_(False).eval()
    ema = EMA(net, 0.5)
    start = net[2].weight.detach().clone()
    with torch.no_grad():
        net[2].weight += 1.0
        net[1].running_mean += 2.0
    ema.update(net, torch.tensor(True))  # min(0.5, 2 / 11) of the past
    assert torch.allclose(ema.average["2.weight"], start + 9 / 11)
    assert torch.allclose(ema.average["1.running_mean"], torch.full((4,), 18 / 11))
    assert "0.weight" not in ema.average
    other = EMA(net, 0.5)
    other.load_state_dict(ema.state_dict())
    other.copy_to(net)
    assert torch.equal(net[2].weight, ema.average["2.weight"])
    with pytest.raises(ValueError, match="another model"):
        other.load_state_dict({"num_updates": 1, "average": {}})
    with pytest.raises(ValueError, match="ema_decay"):
        EMA(net, 1.0)
