"""A network and batches of a few numbers, for tests of the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from lidardistill.engine.config import TrainerConfig
from lidardistill.engine.distributed import make_fabric
from lidardistill.engine.loop import Training
from lidardistill.engine.optim import Schedule, make_optimizer, make_schedule
from lidardistill.engine.terms import Terms


@dataclass
class Batch:
    x: torch.Tensor
    sample_tokens: tuple[str, ...] = ("token",)
    substitutes: tuple = ()

    def to(self, device: Any, non_blocking: bool = False) -> Batch:
        return replace(self, x=self.x.to(device))


def batches(first: int, rows: int = 4) -> Iterator[Batch]:
    number = first
    while True:
        generator = torch.Generator().manual_seed(number)
        yield Batch(torch.randn(rows, 3, generator=generator), (f"token-{number}",))
        number += 1


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.layer(x)).pow(3).add(self.layer(x)).square().mean()


def training_of(
    net: nn.Module,
    trainer: TrainerConfig,
    source: Callable[[int], Iterator[Any]] = batches,
    terms: Callable[[Any, int, bool], Terms] | None = None,
    *,
    fabric: Any = None,
    optimizer: torch.optim.Optimizer | None = None,
    schedule: Schedule | None = None,
    **options: Any,
) -> Training:
    """A loop of `trainer.max_steps` steps of SGD at a constant rate on the CPU."""
    assert trainer.max_steps is not None
    return Training(
        fabric or make_fabric("cpu", precision=trainer.precision),
        net,
        terms or (lambda batch, step, diagnose: Terms(net(batch.x))),
        optimizer or make_optimizer("sgd", net, lr=1e-3),
        schedule or make_schedule("constant", total_steps=trainer.max_steps),
        source,
        trainer,
        trainer.max_steps,
        **options,
    )
