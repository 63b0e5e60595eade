"""A network and batches of a few numbers, for tests of the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from lidardistill.config.base import Strict
from lidardistill.engine.config import ConstantConfig, TrainerConfig
from lidardistill.engine.distributed import make_fabric
from lidardistill.engine.loop import Training
from lidardistill.engine.optim import Schedule, make_optimizer, make_schedule
from lidardistill.engine.run_folder import METRICS_FILE, write_metrics
from lidardistill.engine.terms import Terms
from lidardistill.tasks.verb import Learning, Task, Work


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


class FakeData(Strict):
    batch_size: int = 4
    num_workers: int = 0
    max_corrupt: int = 3
    dataroot: str = "here"


class FakeConfig(Strict):
    name: str = "fake"
    seed: int = 0
    data: FakeData = FakeData()
    trainer: TrainerConfig = TrainerConfig(max_steps=4, log_every=1, accelerator="cpu")


class Numbers(torch.utils.data.Dataset):
    """Eight points; the third cannot be read and is replaced."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, key: tuple[int, int, int]) -> tuple[torch.Tensor, tuple[tuple[str, str], ...]]:
        place = key[2]
        x = torch.randn(3, generator=torch.Generator().manual_seed(place))
        return x, (("token-3", "truncated"),) if place == 3 else ()

    @staticmethod
    def collate(samples: list) -> Batch:
        return Batch(
            torch.stack([x for x, _ in samples]), substitutes=tuple(s for _, bad in samples for s in bad)
        )


class FakeTask(Task[Work]):
    """A task of milliseconds that counts its calls.

    Args:
        config: config of the run.
        change: maps loss and step to the minimised loss.
        finish: called with the run folder after training.
    """

    verb: ClassVar[str] = "fake"

    def __init__(
        self,
        config: FakeConfig | None = None,
        *,
        change: Callable[[torch.Tensor, int], torch.Tensor] | None = None,
        finish: Callable[[Path], None] | None = None,
    ) -> None:
        self.config = config or FakeConfig()
        self.trainer, self.schedule = self.config.trainer, ConstantConfig(kind="constant")
        self.inputs = {"weights": "random"}
        self.change, self.at_finish = change, finish
        self.calls: list[str] = []
        self.saved: dict[str, torch.Tensor] = {}

    def build(self, fabric: Any) -> Work:
        self.calls.append("build")
        net = Net()

        def terms(batch: Batch, step: int, diagnose: bool) -> Terms:
            loss = net(batch.x)
            return Terms(loss if self.change is None else self.change(loss, step))

        optimizer = make_optimizer("sgd", net, lr=1e-2)
        return Work(model=net, learning=Learning(optimizer, terms, Numbers()), data="8 numbers")

    def finish(self, work: Work, steps: int, run: Path) -> dict[str, Any]:
        self.calls.append("finish")
        if self.at_finish is not None:
            self.at_finish(run)
        self.saved = {name: value.clone() for name, value in work.model.state_dict().items()}
        write_metrics(run / METRICS_FILE, {"miou": 0.5})
        return {"miou": 0.5}
