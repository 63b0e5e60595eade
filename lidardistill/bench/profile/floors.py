"""Shortest possible times of the parts of a step: operations over GEMM rate, bytes over copy rate, both
measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from lidardistill.bench.profile.parts import Clock, Parts, clock_of
from lidardistill.spans import watching

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lidardistill.engine.loop import Training

T = TypeVar("T")

GEMM_SIZE = {"cpu": 512, "cuda": 8192}
COPY_BYTES = {"cpu": 2**26, "cuda": 2**30}
REPEATS = 30


class Rates(NamedTuple):
    """Best rates of the device: floating-point operations a second, and bytes read and written a second."""

    flops: float
    bytes: float


def rates_of(device: torch.device, dtype: torch.dtype) -> Rates:
    """Measure both rates: the best of many products, and of many copies, because the machine may be busy."""
    import torch

    size, num_bytes = GEMM_SIZE[device.type], COPY_BYTES[device.type]
    a = torch.randn(size, size, device=device, dtype=dtype)
    ways: list[Callable[[], Any]] = [lambda: a @ a]
    if device.type == "cpu" and dtype == torch.float32:
        # On AMD torch.mm takes MKL's AVX2 kernels; oneDNN is faster and shows what the CPU can do.
        with suppress(AttributeError, RuntimeError):
            onednn = partial(torch.ops.mkldnn._linear_pointwise, a, a, None, "none", [], "")
            onednn()  # raises if this torch has none
            ways.append(onednn)
    product_ms = min(_best_ms(way, device) for way in ways)
    source = torch.zeros(num_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_ms = _best_ms(lambda: target.copy_(source), device)
    return Rates(2e3 * size**3 / product_ms, 2e3 * num_bytes / copy_ms)


def _best_ms(call: Callable[[], Any], device: torch.device) -> float:
    parts = Parts(clock_of(device))
    times = []
    for _ in range(REPEATS + 1):
        with parts.span("call"):
            call()
        times.append(parts.take()["call"])
    return min(times[1:])


class _FlopMeter:
    """Counts the dense products that torch dispatches, and the operations that our own kernels report."""

    def __init__(self) -> None:
        from torch.utils.flop_counter import FlopCounterMode

        self.counter = FlopCounterMode(display=False)
        self.reported = 0

    def mark(self) -> int:
        return self.counter.get_total_flops() + self.reported

    def between(self, start: int, end: int) -> float:
        return float(end - start)

    def count_flops(self, flops: Callable[[], int]) -> None:
        self.reported += flops()


def flops_of_parts(training: Training, batch: Any) -> dict[str, float]:
    """Floating-point operations of a step by part, counted in one forward pass.

    Args:
        training: model and losses.
        batch: on its device.

    Returns:
        Operations of every part that has some; `backward` is twice the forward pass without the teacher.
    """
    import torch

    meter = _FlopMeter()
    parts = Parts(meter)
    with torch.no_grad(), watching(parts), meter.counter, training.fabric.autocast(), parts.span("forward"):
        training.terms(batch, 0, False)
    found = {path: flops for path, flops in parts.take().items() if flops > 0}
    trained = (flops for path, flops in found.items() if "teacher" not in path.split("/"))
    found["backward"] = 2 * sum(trained)
    return found


class _MovedBytes(Parts):
    """Adds up the bytes of arguments and results of the functions of one name, by part."""

    def __init__(self, name: str) -> None:
        super().__init__(Clock())
        self.name = name
        self.moved: dict[str, float] = {}

    def call(self, name: str, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        outer = name == self.name and name not in self._open
        path = "/".join([*self._open, name])
        found = super().call(name, function, args, kwargs)
        if outer:
            results = found if isinstance(found, tuple) else (found,)
            tensors = _tensors((*args, *kwargs.values(), *results))
            self.moved[path] = self.moved.get(path, 0.0) + _num_bytes(tensors)
        return found


def bytes_of_parts(training: Training, batch: Any) -> dict[str, float]:
    """Bytes that must be moved by the parts that do little else.

    The optimizer reads weights, gradients and its states, and writes weights and states; pooling reads its
    arguments and writes its results; the copy to a GPU reads and writes the batch once.
    """
    import torch

    watcher = _MovedBytes("pooling")
    with torch.no_grad(), watching(watcher), training.fabric.autocast(), watcher.span("forward"):
        training.terms(batch, 0, False)
    optimizer = training.optimizer
    weights = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    states = [
        value
        for state in optimizer.state.values()
        for value in state.values()
        if getattr(value, "ndim", 0) > 0
    ]
    found = {**watcher.moved, "optimizer": float(3 * _num_bytes(weights) + 2 * _num_bytes(states))}
    if training.fabric.device.type == "cuda":
        found["to device"] = 2.0 * _num_bytes(_tensors([batch]))
    return found


def _num_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Tensors among the values, and those in dataclasses among them."""
    import torch

    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif hasattr(value, "__dataclass_fields__"):
            yield from _tensors(vars(value).values())
