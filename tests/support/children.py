"""Killed runs and runs of two ranks, forked from one process that has imported torch and Fabric.

`python children.py FOLDER` prints a JSON object of what it found; test_processes.py looks at it.
"""

import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import lightning_fabric  # noqa: F401  (imported before the forks, once)
import torch
from loops import FakeTask
from torch import nn

from lidardistill.engine.checkpoint import latest_checkpoint, load_checkpoint
from lidardistill.engine.config import TrainerConfig
from lidardistill.engine.distributed import average_gradients, make_fabric
from lidardistill.engine.logging import RunLogger, read_metrics
from lidardistill.engine.loop import Training, run_loop
from lidardistill.engine.optim import make_optimizer, make_schedule
from lidardistill.engine.terms import Terms
from lidardistill.objectives import info_nce
from lidardistill.ops import all_gather_ragged, all_gather_with_grad, rank_weight
from lidardistill.tasks.verb import execute

SETTINGS = TrainerConfig(
    max_steps=11, log_every=1, checkpoint_every=3, ema_decay=0.9, clip_norm=1.0, accumulate=2
)


@dataclass
class Batch:
    x: torch.Tensor
    sample_tokens: tuple[str, ...]
    substitutes: tuple = ()

    def to(self, device, non_blocking=False):
        return replace(self, x=self.x.to(device))


def batches(first, rank=0):
    number = first
    while True:
        generator = torch.Generator().manual_seed(1000 * rank + number)
        yield Batch(torch.randn(6, 5, generator=generator), (f"token-{rank}-{number}",))
        number += 1


class Tiny(nn.Module):
    """BatchNorm has buffers, dropout draws from torch's own generator."""

    def __init__(self):
        super().__init__()
        self.student = nn.Sequential(
            nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 4)
        )
        self.teacher = nn.Linear(5, 4).requires_grad_(False).eval()

    def forward(self, x):
        return info_nce(self.student(x), self.teacher(x), 0.3)


def train(folder: Path, settings=SETTINGS, before: Callable[[int, Tiny], None] | None = None, change=None):
    fabric = make_fabric("cpu")
    torch.manual_seed(0)
    model = Tiny().train()
    model.teacher.eval()
    optimizer = make_optimizer("sgd", model, lr=0.1, dampening=0.1, weight_decay=1e-4)
    schedule = make_schedule("cosine", per="step", total_steps=settings.max_steps, warmup_steps=2)

    def terms(batch, number, diagnose):
        if before is not None:
            before(number, model)
        x = batch.x if change is None else change(batch.x, number, fabric.global_rank)
        loss = model(x) + 0.01 * torch.rand(()) * model.student[0].weight.square().sum()
        return Terms(loss, {"contrast": loss.detach()}, {"rows": len(batch.x)})

    training = Training(
        fabric,
        model,
        terms,
        optimizer,
        schedule,
        lambda first: batches(first, fabric.global_rank),
        settings,
        settings.max_steps,
        config={"seed": 0},
    )
    logger = RunLogger(folder, write=fabric.is_global_zero, progress=False)
    return run_loop(training, folder, logger), model


def child(function: Callable[[], int]) -> int:
    """Run a function in a forked process; return its value or -signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = function()
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_at(step):
    def before(number, model):
        if number == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return before


def kill_in_save(call):
    """SIGKILL at the n-th fsync: in the middle of writing a checkpoint."""
    real, calls = os.fsync, 0

    def fsync(descriptor):
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        real(descriptor)

    os.fsync = fsync


def record(folder: Path):
    """Return losses by line, and the contents of the last checkpoint except clocks."""
    content = load_checkpoint(latest_checkpoint(folder / "checkpoints"))
    state = content["state"]
    clocks = ("seconds", "data_wait_seconds")
    state["progress"] = {name: value for name, value in state["progress"].items() if name not in clocks}
    lines = [
        {name: line[name] for name in ("step", "loss", "loss_window", "loss/contrast", "lr", "grad_norm")}
        for line in read_metrics(folder / "metrics.jsonl")
    ]
    return lines, state


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def kill_and_resume(root: Path) -> dict:
    def plain(folder, **options):
        return lambda: train(folder, **options)[0].exit_code

    found = {}
    assert child(plain(root / "whole")) == 0
    whole = record(root / "whole")
    found["whole_steps"] = [line["step"] for line in whole[0]]
    found["losses_differ"] = len({line["loss"] for line in whole[0]})

    def in_save(folder, call):
        def run():
            kill_in_save(call)
            return train(folder)[0].exit_code

        return run

    def term(number, model):
        if number == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    killed = {f"step{step}": plain for step in (0, 1, 3, 5, 10)}
    for name in killed:
        folder = root / name
        code = child(plain(folder, before=kill_at(int(name[4:]))))
        again = child(plain(folder))
        found[name] = [code, again, same(record(folder), whole)]
    folder = root / "several"
    codes = [child(plain(folder, before=kill_at(step))) for step in (2, 4, 4, 8)]
    found["several"] = [codes, child(plain(folder)), same(record(folder), whole)]
    for call in (3, 5, 6):  # 1, 2: metrics.jsonl; then .pt, its folder, .json, its folder
        folder = root / f"save{call}"
        code = child(in_save(folder, call))
        leftovers = len(list((folder / "checkpoints").glob(".*")))
        again = child(plain(folder))
        found[f"save{call}"] = [code, again, same(record(folder), whole), leftovers]
        found[f"save{call}_left"] = len(list((folder / "checkpoints").glob(".*")))
    folder = root / "term"
    code = child(plain(folder, before=term))
    steps = read_metrics(folder / "metrics.jsonl")[-1]["step"]
    found["term"] = [code, steps, child(plain(folder)), same(record(folder), whole)]
    return found


def ranks(function: Callable[[int], object], folder: Path, count: int = 2) -> list:
    """Run a function on several ranks, started like torchrun, and return each result."""
    folder.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pids = []
    for rank in range(count):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.environ.update(
                    TORCHELASTIC_RUN_ID="test",
                    RANK=str(rank),
                    LOCAL_RANK=str(rank),
                    GROUP_RANK="0",
                    WORLD_SIZE=str(count),
                    LOCAL_WORLD_SIZE=str(count),
                    MASTER_ADDR="127.0.0.1",
                    MASTER_PORT=str(port),
                )
                torch.save(function(rank), folder / f"rank{rank}.pt")
                code = 0
            except BaseException:
                traceback.print_exc()
            os._exit(code)
        pids.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    if any(codes):
        raise RuntimeError(f"{folder.name}: ranks ended with {codes}")
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(count)]


# Rows of each rank: equal, unequal, one without any, none anywhere.
COUNTS = [(4, 4), (3, 5), (5, 0), (0, 4), (0, 0)]


def rows(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


def heads() -> nn.ModuleList:
    torch.manual_seed(3)
    return nn.ModuleList([nn.Linear(6, 4), nn.Linear(6, 4)])


def global_negatives(root: Path) -> dict:
    """Two ranks against one process with the joined batch."""

    def one_rank(rank: int):
        fabric = make_fabric("cpu")
        results = []
        for number, counts in enumerate(COUNTS):
            for symmetric in (False, True):
                student, teacher = heads()
                params = [*student.parameters(), *teacher.parameters()]
                x, y = rows(counts[rank], 10 * number + rank), rows(counts[rank], 500 + 10 * number + rank)
                anchor, positive = student(x), teacher(y)
                candidates, offset = all_gather_ragged(positive)
                anchors = all_gather_ragged(anchor)[0] if symmetric else None
                loss = info_nce(
                    anchor,
                    positive,
                    0.2,
                    candidates=candidates,
                    candidate_offset=offset,
                    symmetric=symmetric,
                    anchor_candidates=anchors,
                )
                loss = loss * rank_weight(len(anchor), len(candidates))
                loss.backward()
                mean = average_gradients(params, loss.detach().view(1))
                results.append((mean, [p.grad for p in params]))
        mine = torch.full((2, 3), float(rank), requires_grad=True)
        everyone = all_gather_with_grad(mine)
        (everyone * torch.arange(12.0).view(4, 3) * (rank + 1)).sum().backward()
        return results, everyone.detach(), mine.grad, fabric.world_size

    found = ranks(one_rank, root / "negatives")
    errors = []
    number = 0
    for case, counts in enumerate(COUNTS):
        for symmetric in (False, True):
            student, teacher = heads()
            x = torch.cat([rows(n, 10 * case + rank) for rank, n in enumerate(counts)])
            y = torch.cat([rows(n, 500 + 10 * case + rank) for rank, n in enumerate(counts)])
            loss = info_nce(student(x), teacher(y), 0.2, symmetric=symmetric)
            loss.backward()
            expected = [
                loss.detach().view(1),
                *(p.grad for p in (*student.parameters(), *teacher.parameters())),
            ]
            for results, *_ in found:
                got = [results[number][0], *results[number][1]]
                errors.append(max((a - b).abs().max().item() for a, b in zip(got, expected, strict=True)))
            number += 1
    weights = torch.arange(12.0).view(4, 3)
    gathered = torch.tensor([0.0, 0.0, 1.0, 1.0])[:, None].expand(4, 3)
    return {
        "max_error": max(errors),
        "gather": all(torch.equal(everyone, gathered) for _, everyone, *_ in found),
        "gather_grad": all(
            torch.equal(grad, 3 * weights[2 * r : 2 * r + 2]) for r, (*_, grad, _) in enumerate(found)
        ),
        "world_size": [entry[3] for entry in found],
    }


def two_ranks_in_the_loop(root: Path) -> dict:
    settings = SETTINGS.model_copy(update={"max_steps": 6, "accumulate": 1})

    def spoil(x, number, rank):
        return x * torch.nan if (number, rank) == (2, 1) else x

    def with_nan(rank: int):
        result, model = train(root / "nan", settings, change=spoil)
        return (
            result.nonfinite,
            [p.detach() for p in model.student.parameters()],
            list(model.student.buffers()),
        )

    def with_signal(rank: int):
        def before(number, model):
            if (number, rank) == (3, 1):
                os.kill(os.getpid(), signal.SIGTERM)

        result, _ = train(root / "signal", settings, before=before)
        return result.steps, result.exit_code

    def to_the_end(rank: int):
        return train(root / "signal", settings)[0].steps

    def whole(rank: int):
        return train(root / "two", settings)[0].steps

    nan = ranks(with_nan, root / "ranks-nan")
    stopped = ranks(with_signal, root / "ranks-signal")
    continued = ranks(to_the_end, root / "ranks-continued")
    ranks(whole, root / "ranks-whole")
    return {
        "nan_skipped": [entry[0] for entry in nan],
        "nan_weights_equal": same(nan[0][1], nan[1][1]),
        "nan_finite": all(
            bool(torch.isfinite(value).all()) for entry in nan for value in (*entry[1], *entry[2])
        ),
        "nan_named": [line["loss"] for line in read_metrics(root / "nan" / "metrics.jsonl")].count(None),
        "stopped": stopped,
        "continued": continued,
        "continued_equal": same(record(root / "signal"), record(root / "two")),
    }


def verb_on_two_ranks(root: Path) -> dict:
    """Only the first of two processes claims the folder, judges, and has scores to print."""

    def one_rank(rank: int):
        task = FakeTask()
        done = execute(task, root / "verb", progress=False)
        again = execute(task, root / "verb", progress=False)
        return task.calls, done.metrics, done.loop.steps, again.metrics

    found = ranks(one_rank, root / "ranks-verb")
    sessions = json.loads((root / "verb" / "manifest.json").read_text())["sessions"]
    return {
        "calls": [entry[0] for entry in found],
        "metrics": [entry[1] for entry in found],
        "steps": [entry[2] for entry in found],
        "again": [entry[3] for entry in found],
        "outcomes": [session["outcome"] for session in sessions],
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    print(
        json.dumps(
            {
                "kill": kill_and_resume(folder / "kill"),
                "negatives": global_negatives(folder),
                "loop": two_ranks_in_the_loop(folder),
                "verb": verb_on_two_ranks(folder),
            }
        )
    )
